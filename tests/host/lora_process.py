"""A LoRA on the host's patcher around our UNet, loaded whole and in part.

    python lora_process.py COMFYUI CHECKPOINT LORA

See `pack_in_host.py`. Prints relative errors as JSON, and how our description of the UNet, from which the host makes
the names that its own LoRA loader knows, differs from what the host detects in the weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from offload_process import BUDGETS, unet_run
from pack_in_host import CPU, relative_error, start


def main(comfyui: str, checkpoint: str, lora: str) -> None:
    start(comfyui)
    import comfy.model_detection
    from pack_as_the_host_loads_it.nodes.host.lora import add_lora
    from pack_as_the_host_loads_it.nodes.host.model import make_model
    from pack_as_the_host_loads_it.svd_core.checkpoints import open_checkpoint
    from pack_as_the_host_loads_it.svd_core.checkpoints.lora import module_shapes, read_lora

    opened = open_checkpoint(checkpoint)
    with torch.inference_mode():
        model = make_model(opened, None)
        run = unet_run(model, opened.unet.context_dim)
        read = read_lora(lora, module_shapes(model.model.diffusion_model))
        patched = add_lora(model, Path(lora), 1.0)
        report: dict[str, Any] = {"on the first": len(model.patches)}
        report["not taken"] = len(read.layers) - len(patched.patches)
        plain = run()
        patched.patch_model(CPU)
        whole = run()
        patched.unpatch_model(CPU)
        report |= {"effect": relative_error(whole, plain), "restored": relative_error(run(), plain)}
        errors = []
        for budget in BUDGETS:
            patched.load(CPU, lowvram_model_memory=budget)
            errors.append(relative_error(run(), whole))
            patched.unpatch_model(CPU)
        report["in part"] = max(errors)
        weights = {
            f"diffusion_model.{name}": weight for name, weight in model.model.diffusion_model.state_dict().items()
        }
        detected = comfy.model_detection.detect_unet_config(weights, "diffusion_model.")
        described = model.model.model_config.unet_config
        unlike = {name: value for name, value in detected.items() if value and described.get(name) != value}
        report["described otherwise"] = unlike
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
