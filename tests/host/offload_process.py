"""The host's patchers around our networks, loaded in part and with patches on their weights.

    python offload_process.py COMFYUI CHECKPOINT

See `pack_in_host.py`. Prints relative errors as JSON. Offloading on a CPU moves nothing, but takes the same paths:
weights are cast, and patched, layer by layer at use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from pack_in_host import CPU, relative_error, start
from torch import Tensor

BUDGETS = (1, 1_000_000, 8_000_000)  # bytes of weights that may stay loaded


def main(comfyui: str, checkpoint: str) -> None:
    start(comfyui)
    from pack_as_the_host_loads_it.nodes.host.image_encoder import SVDClipVision, encode_pixels
    from pack_as_the_host_loads_it.nodes.host.model import make_model
    from pack_as_the_host_loads_it.nodes.host.vae import SVDVAE
    from pack_as_the_host_loads_it.svd_core.checkpoints import open_checkpoint
    from pack_as_the_host_loads_it.svd_core.memory.decode.clip import decode_clip
    from pack_as_the_host_loads_it.svd_core.memory.decode.plan import DecodePlan

    opened = open_checkpoint(checkpoint)
    with torch.inference_mode():
        model, vae, clip = make_model(opened, None), SVDVAE(opened, None), SVDClipVision(opened, None)
        latents, pixels = torch.randn(5, 4, 16, 16), torch.randn(1, 3, clip.image_size, clip.image_size)
        runs: dict[str, tuple[Any, Callable[[], Tensor]]] = {
            "unet": (model, unet_run(model, opened.unet.context_dim)),
            "vae": (vae.patcher, lambda: vae.first_stage_model.decode(latents)),
            "vae framewise": (vae.patcher, lambda: decode_clip(vae.first_stage_model, latents, DecodePlan(2))),
            "clip": (clip.patcher, lambda: encode_pixels(clip, pixels).image_embeds),
        }
        report = {name: max(offloaded_errors(*run)) for name, run in runs.items()}
        report |= patched_errors(*runs["unet"])
    print(json.dumps(report))


def unet_run(model: Any, context_dim: int) -> Callable[[], Tensor]:
    x, context, y = torch.randn(6, 8, 16, 16), torch.randn(6, 1, context_dim), torch.randn(6, 768)
    network = model.model.diffusion_model
    return lambda: network(x, torch.zeros(6), context=context, y=y, num_video_frames=3, transformer_options={})


def offloaded_errors(patcher: Any, run: Callable[[], Tensor]) -> list[float]:
    whole = run()
    errors = []
    for budget in BUDGETS:
        patcher.load(CPU, lowvram_model_memory=budget)
        errors.append(relative_error(run(), whole))
        patcher.unpatch_model(CPU)
    return errors


def patched_errors(patcher: Any, run: Callable[[], Tensor]) -> dict[str, float]:
    """Differences added to attention and convolutions, spatial and temporal, as a LoRA adds them."""
    whole = run()
    kinds = ("attn1.to_q.weight", "attn2.to_v.weight", "in_layers.2.weight", "conv.weight", "time_pos_embed.0.weight")
    weights = {name: weight for name, weight in patcher.model.state_dict().items() if name.endswith(kinds)}
    patched = patcher.clone()
    taken = patched.add_patches({name: ("diff", (0.05 * torch.randn_like(w),)) for name, w in weights.items()})
    patched.patch_model(CPU)
    loaded = run()
    patched.unpatch_model(CPU)
    restored = run()
    patched.load(CPU, lowvram_model_memory=1)
    offloaded = run()
    patched.unpatch_model(CPU)
    return {
        "patches not taken": len(weights) - len(taken),
        "patch effect": relative_error(loaded, whole),
        "patch restored": relative_error(restored, whole),
        "patch offloaded": relative_error(offloaded, loaded),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
