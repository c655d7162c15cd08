"""Clips saved by the host's own SaveAnimatedWEBP and SaveAnimatedPNG.

    python animations_process.py COMFYUI FOLDER < clips.json

See `pack_in_host.py`. The clips are a list of [name, levels, fps, lossless, quality]: each frame is a pattern of grey
that is `level` brighter, and moves by `level` pixels. Without a quality it is a PNG. A WebP holds the graph, in which
the fps comes from another node by a link.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import torch
from pack_in_host import start


def main(comfyui: str, folder: str) -> None:
    start(comfyui)
    import folder_paths
    from comfy_extras.nodes_images import SaveAnimatedPNG, SaveAnimatedWEBP

    folder_paths.set_output_directory(folder)
    for name, levels, fps, lossless, quality in json.load(sys.stdin):
        images = torch.stack([draw(level) for level in levels])
        saver = {"class_type": "SaveAnimatedWEBP", "inputs": {"fps": ["2", 3], "filename_prefix": name}}
        graph = {"1": saver, "2": {"class_type": "SVD_VAEEncodeConditioning", "inputs": {"fps": fps, "seed": 3}}}
        if quality is None:
            SaveAnimatedPNG.hidden = None
            SaveAnimatedPNG.execute(images, fps=fps, filename_prefix=name, compress_level=4)
        else:
            SaveAnimatedWEBP.hidden = SimpleNamespace(prompt=graph, extra_pnginfo={"workflow": {}})
            options = {"lossless": lossless, "quality": quality, "method": "default"}
            SaveAnimatedWEBP.execute(images, fps=fps, filename_prefix=name, **options)


def draw(level: float) -> torch.Tensor:
    """A picture h w 3."""
    x, y = torch.arange(64) + level, torch.arange(64)[:, None]
    return (0.4 + 0.3 * torch.sin(x / 9 + y / 17) + level / 255)[..., None].expand(-1, -1, 3)


if __name__ == "__main__":
    main(*sys.argv[1:])
