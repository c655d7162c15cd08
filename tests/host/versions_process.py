"""VAE, CLIP_VISION and MODEL asked as other versions of the host ask, and in a host that lacks what older ones lacked.

    python versions_process.py COMFYUI

See `pack_in_host.py`. Prints as JSON what is equal, what is missing and what was logged.
"""

from __future__ import annotations

import json
import logging
import sys

import torch
from pack_in_host import start

UNKNOWN = {"of_a_newer_host": True}


def main(comfyui: str) -> None:
    start(comfyui)
    from comfy import model_management, sd
    from pack_as_the_host_loads_it.nodes import SVDLoader
    from pack_as_the_host_loads_it.nodes.host import versions
    from pack_as_the_host_loads_it.nodes.host.folders import BUNDLED
    from pack_as_the_host_loads_it.nodes.host.vae import reload_vae_patcher

    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    with torch.inference_mode():
        model, clip_vision, vae = SVDLoader.execute(BUNDLED, "auto").args
        logging.getLogger().removeHandler(handler)
        picture, latents = torch.rand(2, 64, 128, 3), torch.rand(2, 4, 8, 16)
        encoded, decoded = vae.encode(picture), vae.decode(latents)
        embedded = clip_vision.encode_image(picture)["image_embeds"]
        tiles = {"tile_x": 32, "tile_y": 32, "overlap": 8, "tile_t": 4, "overlap_t": 1}
        equal = {
            "encode": torch.equal(encoded, vae.encode(picture, not_video=True)),
            "encode_tiled": torch.equal(encoded, vae.encode_tiled(picture, **tiles, not_video=None)),
            "encode_tiled by position": torch.equal(encoded, vae.encode_tiled(picture, 32, 32, 8)),
            "decode": torch.equal(decoded, vae.decode(latents, vae_options={}, **UNKNOWN)),
            "decode_tiled": torch.equal(vae.decode_tiled(latents), vae.decode_tiled(latents, **tiles, **UNKNOWN)),
            "encode_image": torch.equal(
                embedded, clip_vision.encode_image(picture, crop=True, **UNKNOWN)["image_embeds"]
            ),
            "memory_required": model.model.memory_required([2, 4, 8, 16])
            == model.model.memory_required([2, 4, 8, 16], cond_shapes={}, **UNKNOWN),
            "reload": reload_vae_patcher(*vae.patcher.cached_patcher_init[1], disable_dynamic=True, **UNKNOWN).model
            is not None,
        }
        missing = {name for name in vars(sd.VAE(sd={})) if name not in vars(vae)}
        for owner, name in ((model_management, "is_oom"), (sd.VAE, "vae_output_dtype")):  # new in 0.17 and 0.18
            if hasattr(owner, name):
                delattr(owner, name)
        old = {
            "encode": torch.equal(encoded, vae.encode(picture)),
            "decode": torch.equal(decoded, vae.decode(latents)),
            "out of memory": versions.is_oom(torch.cuda.OutOfMemoryError()),
            "another error": not versions.is_oom(RuntimeError("of another kind")),
        }
    report = {"equal": equal, "old": old, "missing": sorted(missing), "naf": clip_vision.naf, "logged": logged}
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
