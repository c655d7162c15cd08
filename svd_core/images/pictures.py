"""Turn any picture of a user into tensors, and fit it to the video."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import SVDError, choose
from ..picture_files import check_levels, reporting, to_array, turn_upright

logger = logging.getLogger(__name__)

FitMode = Literal["crop", "pad", "stretch"]
FIT_MODES: tuple[FitMode, ...] = get_args(FitMode)


def to_image_tensor(picture: Any) -> Tensor:
    """Convert a picture or a batch of them to b 3 h w fp32 in [0, 1].

    Takes a PIL image (rotated upright by its EXIF tag); or an array or tensor [b] h w [c] with 1 (grey), 2 (grey,
    alpha), 3 or 4 (alpha) channels last. Which level is white, `check_levels` says. Alpha is dropped, as the host does;
    where it hid something, that is logged. Floats that overshoot [0, 1], as resampled pictures do, are clamped.
    Raises SVDError for an empty batch, other shapes, and values of another range.
    """
    name = getattr(picture, "filename", "") or "The picture"
    pixels = _read_pixels(picture, name)
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
    levels = _scale_to_unit_range(pixels)
    if levels.shape[-1] in (2, 4):
        _log_hidden_colours(name, levels[..., -1])
    return rearrange(to_rgb(levels), "b h w c -> b c h w").clamp(0.0, 1.0)


def to_rgb(pictures: Tensor) -> Tensor:
    """A view of pictures with 1 (grey), 2 (grey, alpha), 3 or 4 (alpha) channels last, with 3 of them."""
    grey = pictures.shape[-1] < 3
    return pictures[..., :1].expand(*pictures.shape[:-1], 3) if grey else pictures[..., :3]


def fit(image: Tensor, width: int, height: int, mode: str = "crop") -> Tensor:
    """Resize b 3 h w in [0, 1] to b 3 height width, antialiased bicubic.

    "crop" fills the frame and cuts what sticks out, "pad" shows all between black bars, "stretch" distorts. Both sides
    lose or gain the same whole number of pixels, so that the centre stays in place; for that the aspect may change by
    less than a pixel. Raises SVDError for an unknown mode.
    """
    choose("fit mode", mode, FIT_MODES)
    if mode == "stretch":
        return _resize(image, width, height)
    return _crop(image, width, height) if mode == "crop" else _pad(image, width, height)


def fit_masks(masks: Tensor, width: int, height: int, fit_mode: str = "crop") -> Tensor:
    """Fit masks to the video like their pictures, so that what is drawn over a picture stays there; b h w.

    masks: b h' w' in [0, 1]; b may be left out, or an axis of one channel stand behind it. Masks with the video's
    aspect, at any size, are left as they are. Bars of "pad" are free.
    """
    masks = masks.reshape(-1, *masks.shape[-2:])
    h, w = masks.shape[-2:]
    return masks if w * height == h * width else fit(masks.float()[:, None], width, height, fit_mode)[:, 0]


def fit_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """Round a size to the nearest one the model takes, at least one multiple each way; logs a warning if it differs.

    Raises SVDError for a size below 1.
    """
    if width < 1 or height < 1:
        raise SVDError(f"The size {width}x{height} is too small for a picture; 1024x576 suits the released models.")
    fitted = tuple(max((side + multiple // 2) // multiple, 1) * multiple for side in (width, height))
    if fitted != (width, height):
        logger.warning(
            "The size %dx%d is not a multiple of %d, which the model needs; making %dx%d.",
            width, height, multiple, *fitted,
        )  # fmt: skip
    return fitted[0], fitted[1]


def size_like(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """The size with the picture's aspect and `area` pixels, in multiples: nearest to √(area · w / h) x √(area · h / w).

    Nearest as a ratio, so that neither direction is favoured. Raises SVDError for a size below 1.
    """
    if width < 1 or height < 1:
        raise SVDError(f"The size {width}x{height} is too small for a picture; connect a picture.")

    def round_side(exact: float) -> int:
        below = max(1, math.floor(exact / multiple)) * multiple
        return min(below, below + multiple, key=lambda side: abs(math.log(side / exact)))

    return round_side(math.sqrt(area * width / height)), round_side(math.sqrt(area * height / width))


def _read_pixels(picture: Any, name: str) -> Tensor:
    """Any picture as a tensor with its values unchanged."""
    if hasattr(picture, "convert"):
        with reporting(name):
            picture = to_array(turn_upright(picture))
    if isinstance(picture, np.ndarray) and picture.dtype.kind in "biuf":
        picture = torch.from_numpy(np.array(picture, order="C"))  # a copy: arrays may be read-only or flipped views
    if not isinstance(picture, Tensor) or picture.is_complex():
        raise SVDError(
            f"A {type(picture).__name__} is not a picture; give a PIL image, or an array or tensor of numbers."
        )
    return picture


def _log_hidden_colours(name: str, alpha: Tensor) -> None:
    """alpha: b h w in [0, 1]."""
    hidden = float((alpha < 0.5).float().mean())
    if hidden:
        logger.warning(
            "%s is transparent in %.2g %% of its area, where the colours that lie hidden there are taken; put it on a "
            "background of your choice if these are wrong.", name, 100.0 * hidden,
        )  # fmt: skip


def _scale_to_unit_range(pixels: Tensor) -> Tensor:
    """Levels as fp32 fractions of full scale. Floats may overshoot a little; a wrong range raises SVDError."""
    values = pixels.float()
    low, high = values.aminmax()
    white = check_levels(str(pixels.dtype).removeprefix("torch."), float(low), float(high))
    return values.div_(white) if white != 1.0 else values


def _crop(image: Tensor, width: int, height: int) -> Tensor:
    h, w = image.shape[-2:]
    scale = max(width / w, height / h)
    # Resampling all of a long strip could fill the memory, so it is cut first, with a margin for the filter's reach.
    margin = 2 * math.ceil(2.0 * max(1.0, 1.0 / scale))
    window_w = min(w, _round_evenly(w, width / scale) + margin)
    window_h = min(h, _round_evenly(h, height / scale) + margin)
    window = _center(image, window_w, window_h)
    resized_w, resized_h = _round_evenly(width, window_w * scale), _round_evenly(height, window_h * scale)
    return _center(_resize(window, resized_w, resized_h), width, height)


def _pad(image: Tensor, width: int, height: int) -> Tensor:
    h, w = image.shape[-2:]
    scale = min(width / w, height / h)
    return _center(_resize(image, _round_evenly(width, w * scale), _round_evenly(height, h * scale)), width, height)


def _round_evenly(side: int, wanted: float) -> int:
    """Round `wanted` to a length that differs from `side` by an even number, so that both ends change alike."""
    length = side - 2 * math.floor((side - wanted) / 2.0 + 0.5)
    return length if length >= 1 else 2


def _resize(image: Tensor, width: int, height: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode="bicubic", antialias=True).clamp(0.0, 1.0)


def _center(image: Tensor, width: int, height: int) -> Tensor:
    """Cut or fill with black to width x height, equally on both sides."""
    horizontal, vertical = width - image.shape[-1], height - image.shape[-2]
    left, top = horizontal // 2, vertical // 2
    return F.pad(image, (left, horizontal - left, top, vertical - top))
