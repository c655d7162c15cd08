"""What a clip is handed over as."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Output = Literal["pil", "array", "tensor", "latent"]


def as_output(frames: Tensor, output: Output) -> Any:
    """frames: t h w 3 in [0, 1], on the CPU. Returns them, or one uint8 array t h w 3, or a list of PIL images."""
    if output == "tensor":
        return frames
    array = (frames * 255).round().to(torch.uint8).numpy()
    if output == "array":
        return array
    from PIL import Image

    return [Image.fromarray(np.ascontiguousarray(frame)) for frame in array]
