"""Pictures: whatever a user has, to the tensors the two encoders take."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import SVDError, choose, needing

logger = logging.getLogger(__name__)

FitMode = Literal["crop", "pad", "stretch"]
ClipFitMode = Literal["squash", "center crop", "pad"]
FIT_MODES: tuple[FitMode, ...] = get_args(FitMode)
CLIP_FIT_MODES: tuple[ClipFitMode, ...] = get_args(ClipFitMode)

# Radford et al. 2021, of pictures in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def to_image_tensor(picture: Any) -> Tensor:
    """A picture, or a batch of them, as b 3 h w fp32 in [0, 1].

    Takes a PIL image (turned upright where a camera marked it as turned); an array or tensor [b] h w [c] of floats in
    [0, 1], of 8-bit levels in any integer type, of 16-bit levels in uint16, or of booleans, with 1 (grey), 2 (grey,
    alpha), 3 or 4 (alpha) channels last. Alpha is dropped, as the host does. Floats that overshoot [0, 1], as resampled
    pictures do, are clamped. Raises SVDError for an empty batch, other shapes, and values of another range.
    """
    pixels = _as_pixels(picture)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 2, 3, 4):
        raise SVDError(
            f"The picture has the shape {tuple(pixels.shape)}; give height x width x channels with 1 to 4 channels."
        )
    if pixels.numel() == 0:
        raise SVDError(f"The picture is empty (shape {tuple(pixels.shape)}); connect at least one picture.")
    levels = _in_unit_range(pixels)
    channels = levels[..., :1].expand(*levels.shape[:-1], 3) if levels.shape[-1] < 3 else levels[..., :3]
    return rearrange(channels, "b h w c -> b c h w").clamp(0.0, 1.0)


def fit(image: Tensor, width: int, height: int, mode: str = "crop") -> Tensor:
    """b 3 h w in [0, 1] to b 3 height width, antialiased bicubic.

    "crop" fills the frame and cuts what sticks out, "pad" shows all between black bars, "stretch" distorts. Both sides
    lose or gain the same whole number of pixels, so that the centre stays where it is; the aspect gives way by less
    than a pixel instead. Raises SVDError for another mode.
    """
    choose("fit mode", mode, FIT_MODES)
    if mode == "stretch":
        return _resize(image, width, height)
    return _crop(image, width, height) if mode == "crop" else _pad(image, width, height)


def clip_pixels(image: Tensor, size: int = 224, mode: str = "squash") -> Tensor:
    """b 3 h w in [0, 1] to CLIP's normalised b 3 size size. A picture of that size is not resampled.

    "squash" is what the model was trained with: the whole picture, its shape lost; "center crop" drops the longer
    side's ends; "pad" adds black bars. The resampling is the reference's (Gaussian blur, then bicubic with aligned
    corners, on values in [-1, 1], not clamped). Raises SVDError for another mode.
    """
    choose("fit mode", mode, CLIP_FIT_MODES)
    image = image.float()
    height, width = image.shape[-2:]
    if mode == "center crop":
        image = _centred(image, min(height, width), min(height, width))
    elif mode == "pad":
        image = _centred(image, max(height, width), max(height, width))
    resampled = _reference_resize(2.0 * image - 1.0, size)
    mean, std = (torch.tensor(x, device=image.device)[:, None, None] for x in (CLIP_MEAN, CLIP_STD))  # 3 1 1
    return ((resampled + 1.0) / 2.0 - mean) / std


def fit_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """The nearest size the model takes, with a warning where it differs; at least one multiple each way.

    Raises SVDError for a size below 1.
    """
    if width < 1 or height < 1:
        raise SVDError(f"The size {width}x{height} is not one of a picture; 1024x576 suits the released models.")
    fitted = tuple(max((side + multiple // 2) // multiple, 1) * multiple for side in (width, height))
    if fitted != (width, height):
        logger.warning(
            "The size %dx%d is not a multiple of %d, which the model needs; making %dx%d.",
            width, height, multiple, *fitted,
        )  # fmt: skip
    return fitted[0], fitted[1]


def size_like(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """The size nearest to √(area · w / h) x √(area · h / w), the picture's shape at `area` pixels, in multiples.

    Nearest as a ratio, so that no direction is favoured. Raises SVDError for a size below 1.
    """
    if width < 1 or height < 1:
        raise SVDError(f"The size {width}x{height} is not one of a picture; connect a picture.")

    def nearest(exact: float) -> int:
        below = max(1, math.floor(exact / multiple)) * multiple
        return min(below, below + multiple, key=lambda side: abs(math.log(side / exact)))

    return nearest(math.sqrt(area * width / height)), nearest(math.sqrt(area * height / width))


def _as_pixels(picture: Any) -> Tensor:
    """Any picture as a tensor, its values untouched."""
    if hasattr(picture, "convert"):
        picture = _pil_pixels(picture)
    if isinstance(picture, np.ndarray) and picture.dtype.kind in "biuf":
        picture = torch.from_numpy(np.array(picture, order="C"))  # a copy: arrays may be read-only or flipped views
    if not isinstance(picture, Tensor) or picture.is_complex():
        raise SVDError(
            f"A {type(picture).__name__} is not a picture; give a PIL image, or an array or tensor of numbers."
        )
    return picture


def _pil_pixels(picture: Any) -> np.ndarray:
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16-bit grey, whose levels Pillow's own conversion would clip
        return np.asarray(picture).clip(0, 65535).astype(np.uint16)
    # Pillow warns when a palette's transparency is lost, so it is dropped with the alpha channel instead.
    return np.asarray(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))


def _in_unit_range(pixels: Tensor) -> Tensor:
    """Levels as fp32 fractions of full scale. Floats may overshoot a little; a wrong range is told apart from that."""
    values = pixels.float()
    if not values.isfinite().all():
        raise SVDError("The picture holds values that are not finite (NaN or infinity); mend the node that made it.")
    low, high = float(values.min()), float(values.max())
    if pixels.dtype == torch.bool:
        return values
    if pixels.is_floating_point():
        if low < -0.5 or high > 1.5:
            raise SVDError(f"The picture holds values from {low:g} to {high:g}; scale floats to 0..1.")
        return values
    full = 65535 if pixels.dtype == torch.uint16 else 255
    if low < 0 or high > full:
        raise SVDError(f"The picture holds levels from {low:g} to {high:g}; scale integers to 0..{full}.")
    return values / full


def _crop(image: Tensor, width: int, height: int) -> Tensor:
    h, w = image.shape[-2:]
    scale = max(width / w, height / h)
    # Resampling all of a long strip could fill the memory. The margin is what the filter reaches, on both sides.
    margin = 2 * math.ceil(2.0 * max(1.0, 1.0 / scale))
    window_w, window_h = min(w, _alike(w, width / scale) + margin), min(h, _alike(h, height / scale) + margin)
    window = _centred(image, window_w, window_h)
    return _centred(_resize(window, _alike(width, window_w * scale), _alike(height, window_h * scale)), width, height)


def _pad(image: Tensor, width: int, height: int) -> Tensor:
    h, w = image.shape[-2:]
    scale = min(width / w, height / h)
    return _centred(_resize(image, _alike(width, w * scale), _alike(height, h * scale)), width, height)


def _alike(side: int, wanted: float) -> int:
    """The length nearest to `wanted` that differs from `side` by an even number: half of it for either end."""
    length = side - 2 * math.floor((side - wanted) / 2.0 + 0.5)
    return length if length >= 1 else 2


def _resize(image: Tensor, width: int, height: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode="bicubic", antialias=True).clamp(0.0, 1.0)


def _centred(image: Tensor, width: int, height: int) -> Tensor:
    """Cut or filled with black to width x height, alike on both sides."""
    horizontal, vertical = width - image.shape[-1], height - image.shape[-2]
    left, top = horizontal // 2, vertical // 2
    return F.pad(image, (left, horizontal - left, top, vertical - top))


def _reference_resize(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    with needing("kornia", "Fitting a picture to CLIP"):
        from kornia.geometry.transform import resize

    # A lone row or column has no neighbour for the blur to mirror; doubled, it is the same picture.
    image = image.repeat_interleave(2, -2) if image.shape[-2] == 1 else image
    image = image.repeat_interleave(2, -1) if image.shape[-1] == 1 else image
    return resize(image, (size, size), interpolation="bicubic", align_corners=True, antialias=True)
