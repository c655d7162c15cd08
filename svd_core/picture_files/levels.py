"""Levels of pictures: which number is white, judged by one rule for files, arrays and tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import SVDError

OVERSHOOT = 0.5  # of floats beyond 0 and 1, as resampling makes it
DARKEST_16_BIT = 4096  # below it, 16-bit levels could as well be 8, 10 or 12 bits in a larger number


def check_levels(kind: str, low: float, high: float) -> float:
    """The level of white in a picture with levels from `low` to `high`.

    kind: name of the numbers' type, such as "uint8" or "float32". Floats are 0 to 1. Whole numbers are 8-bit levels, or
    16-bit levels where the type is uint16 or they go beyond 255. Raises SVDError for another range, and where the
    levels do not tell what white is.
    """
    if not math.isfinite(low + high):
        raise SVDError("The picture holds values that are not finite (NaN or infinity); repair what made it.")
    if kind.startswith(("float", "bfloat")):
        if low < -OVERSHOOT or high > 1.0 + OVERSHOOT:
            raise SVDError(f"The picture holds values from {low:g} to {high:g}; scale floats to 0..1.")
        return 1.0
    if kind == "bool":
        return 1.0
    wide = kind == "uint16" or (high > 255 and kind not in ("uint8", "int8", "int16"))
    full = 65535 if wide else 255
    if low < 0 or high > full:
        raise SVDError(f"The picture holds levels from {low:g} to {high:g}; scale integers to 0..{full}.")
    if wide and 0 < high < DARKEST_16_BIT:
        raise SVDError(
            f"The picture holds levels up to {high:g}, which may be 8, 10, 12 or 16 bits; scale them to 0..255 "
            "(8 bits) or 0..65535 (16 bits)."
        )
    return float(full)


def to_array(picture: Any) -> np.ndarray:
    """The levels of a PIL image as they are: h w 3, h w 4 with alpha, or h w for grey of more than 8 bits."""
    if picture.mode == "F":
        return np.asarray(picture)
    if picture.mode == "I":
        return np.asarray(picture, np.int32)
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)  # in the byte order of this machine
    # Pillow warns when it drops a palette's transparency; as an alpha channel it is dropped in silence.
    transparent = picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if transparent else "RGB"))


def to_rgb_levels(picture: Any) -> np.ndarray:
    """A PIL image as h w 3 in uint8, without alpha. Raises SVDError where its levels do not tell what white is."""
    levels = to_array(picture)
    if levels.ndim == 3:
        return levels[..., :3]
    white = check_levels(levels.dtype.name, float(levels.min()), float(levels.max()))
    grey = (levels.clip(0, white) * (255.0 / white)).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
