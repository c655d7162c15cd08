"""Prepare pictures for the image encoder, with the resampling that the models were trained with."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import choose

EncoderFitMode = Literal["squash", "center crop", "pad"]
ENCODER_FIT_MODES: tuple[EncoderFitMode, ...] = get_args(EncoderFitMode)

# Radford et al. 2021, for pictures in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_CUBIC = -0.75  # the constant of torch's bicubic kernel


def to_encoder_pixels(image: Tensor, size: int = 224, mode: str = "squash") -> Tensor:
    """Prepare b 3 h w in [0, 1] for the image encoder: normalised b 3 size size. That very size is not resampled.

    "squash" is what the model was trained with: the whole picture, its aspect lost; "center crop" drops the ends of
    the longer side; "pad" adds black bars. The resampling is the reference's and not clamped.
    Raises SVDError for an unknown mode.
    """
    choose("fit mode", mode, ENCODER_FIT_MODES)
    image = image.float()
    height, width = image.shape[-2:]
    if mode == "center crop":
        side = min(height, width)
        image = image.narrow(-2, (height - side + 1) // 2, side).narrow(-1, (width - side + 1) // 2, side)
    lengths = (max(height, width),) * 2 if mode == "pad" else tuple(image.shape[-2:])
    if lengths != (size, size) or tuple(image.shape[-2:]) != lengths:
        for axis in sorted((-2, -1), key=lambda axis: -image.shape[axis]):  # the longer first: less is left to do
            image = _resample(image, axis, lengths[axis], size)
    mean, std = (torch.tensor(x, device=image.device)[:, None, None] for x in (CLIP_MEAN, CLIP_STD))  # 3 1 1
    return (image - mean) / std


def _resample(image: Tensor, axis: int, length: int, size: int) -> Tensor:
    """Resample one axis to `size`, as if the picture stood in the middle of `length` black pixels.

    A blur against aliasing, then bicubic with aligned corners: what sgm's embedder does through kornia. Each result is
    a weighted sum over a few neighbours, so neither a blurred nor a padded picture is ever made.
    """
    image = image.movedim(axis, -2)  # b c n m
    count = image.shape[-2]
    first, weights = _weigh(length, size)
    rows = []
    for start, row in zip((first - (length - count) // 2).tolist(), weights.to(image.device), strict=True):
        low, high = max(start, 0), min(start + len(row), count)
        if low < high:
            rows.append(row[low - start : high - start] @ image[..., low:high, :])  # b c m
        else:
            rows.append(torch.zeros_like(image[..., 0, :]))
    return torch.stack(rows, -2).movedim(-2, axis)


def _weigh(length: int, size: int) -> tuple[Tensor, Tensor]:
    """For each of `size` results: the index of its first neighbour, and the weights of all, size n.

    sigma and the number of taps follow kornia's `resize(antialias=True)`, and the parity tests hold them to it.
    """
    centres = torch.arange(size) * torch.tensor((length - 1) / max(size - 1, 1))  # fp32, as the reference has them
    below = centres.floor()
    cubic = _cubic((centres - below).double()[:, None] - torch.arange(-1, 3))  # size 4
    nearest = (below.long()[:, None] + torch.arange(-1, 3)).clamp(0, length - 1)
    gauss = _gauss((length / size - 1.0) / 2.0 if length > size else 0.0)
    reach = len(gauss) // 2
    places = (nearest[..., None] + torch.arange(-reach, reach + 1)).abs()  # size 4 taps, mirrored at the ends
    places = torch.where(places > length - 1, 2 * (length - 1) - places, places).flatten(1)
    first = places.amin(1)
    weights = torch.zeros(size, int((places.amax(1) - first).max()) + 1, dtype=torch.float64)
    weights.scatter_add_(1, places - first[:, None], (cubic[..., None] * gauss).flatten(1))
    return first, weights.float()


def _gauss(sigma: float) -> Tensor:
    """The weights of a blur; a single one for sigma 0."""
    if sigma == 0.0:
        return torch.ones(1, dtype=torch.float64)
    reach = int(max(4.0 * sigma, 3.0)) // 2
    weights = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2.0 * sigma**2))
    return weights / weights.sum()


def _cubic(distance: Tensor) -> Tensor:
    """The weight of a neighbour at a distance of up to 2 (Keys 1981)."""
    x = distance.abs()
    near = ((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x * x + 1.0
    far = ((_CUBIC * x - 5.0 * _CUBIC) * x + 8.0 * _CUBIC) * x - 4.0 * _CUBIC
    return torch.where(x <= 1.0, near, far)
