"""Pictures: whatever a user has, to the tensors the two encoders take."""

from __future__ import annotations

import logging
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .errors import SVDError

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

    Takes a PIL image; an array or tensor [b] h w [c] of floats in [0, 1] or of integers in 0..255, with 1 (grey), 2
    (grey, alpha), 3 or 4 (alpha) channels last. Alpha is dropped, as the host does. Values outside [0, 1] are clamped.
    Raises SVDError for an empty batch, other shapes, and values that are not finite.
    """
    pixels = _as_floats(picture)
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
    if not pixels.isfinite().all():
        raise SVDError("The picture holds values that are not finite (NaN or infinity); mend the node that made it.")
    channels = pixels[..., :1].expand(*pixels.shape[:-1], 3) if pixels.shape[-1] < 3 else pixels[..., :3]
    return rearrange(channels, "b h w c -> b c h w").clamp(0.0, 1.0)


def fit(image: Tensor, width: int, height: int, mode: FitMode = "crop") -> Tensor:
    """b 3 h w in [0, 1] to b 3 height width, antialiased bicubic.

    "crop" fills the frame and cuts what sticks out on both sides alike, "pad" shows all and fills up with black,
    "stretch" distorts. Raises SVDError for another mode.
    """
    _check_mode(mode, FIT_MODES)
    if mode == "stretch":
        return _resize(image, width, height)
    scales = width / image.shape[-1], height / image.shape[-2]
    scale = max(scales) if mode == "crop" else min(scales)
    resized = _resize(image, _scaled(image.shape[-1], scale, width), _scaled(image.shape[-2], scale, height))
    return _centred(resized, width, height)


def clip_pixels(image: Tensor, size: int = 224, mode: ClipFitMode = "squash") -> Tensor:
    """b 3 h w in [0, 1] to CLIP's normalised b 3 size size. A picture of that size is not resampled.

    "squash" is what the model was trained with: the whole picture, its shape lost; "center crop" drops the longer
    side's ends; "pad" adds black bars. The resampling is the reference's (Gaussian blur, then bicubic with aligned
    corners, on values in [-1, 1], not clamped). Raises SVDError for another mode.
    """
    _check_mode(mode, CLIP_FIT_MODES)
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
    fitted = tuple(max(round(side / multiple), 1) * multiple for side in (width, height))
    if fitted != (width, height):
        logger.warning(
            "The size %dx%d is not a multiple of %d, which the model needs; making %dx%d.",
            width, height, multiple, *fitted,
        )  # fmt: skip
    return fitted[0], fitted[1]


def _as_floats(picture: Any) -> Tensor:
    """Integers become fractions of 255, booleans black and white."""
    if hasattr(picture, "convert"):  # a PIL image, of any mode
        alpha = "A" in picture.getbands() or "transparency" in picture.info
        picture = np.asarray(picture.convert("RGBA" if alpha else "RGB"))
    if not isinstance(picture, (np.ndarray, Tensor)):
        raise SVDError(f"A {type(picture).__name__} is not a picture; give a PIL image, an array or a tensor.")
    pixels = torch.from_numpy(np.array(picture)) if isinstance(picture, np.ndarray) else picture
    if pixels.dtype == torch.bool or pixels.is_floating_point():
        return pixels.float()
    return pixels.float() / 255.0


def _check_mode(mode: str, modes: tuple[str, ...]) -> None:
    if mode not in modes:
        raise SVDError(f"There is no way to fit a picture named {mode!r}; choose one of {', '.join(modes)}.")


def _scaled(side: int, scale: float, wanted: int) -> int:
    """A side after scaling; the one that decided the scale comes out exact."""
    scaled = side * scale
    return wanted if abs(scaled - wanted) < 0.5 else max(round(scaled), 1)


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
    from kornia.geometry.transform import resize

    return resize(image.float(), (size, size), interpolation="bicubic", align_corners=True, antialias=True)
