"""Contact sheets: several clips side by side, each with its label, to choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import choose

SheetLayout = Literal["moving", "first middle last"]
SHEET_LAYOUTS: tuple[SheetLayout, ...] = get_args(SheetLayout)

LABEL_SHARE = 0.09  # of the height of a clip
MIN_LABEL, MAX_LABEL = 10, 40  # pixels


def draw_sheet(clips: Tensor, labels: Sequence[str], width: int, layout: str = "moving") -> Tensor:
    """Draw labelled clips in a grid. clips: b t h w 3 in [0, 1]; labels: b; width: at most this many pixels.

    "moving" gives t pictures with all clips in a roughly square grid; "first middle last" gives one picture with a row
    per clip. Clips that do not fit are made smaller, never larger; sides are even, as video files need them.
    Returns n H W 3 in [0, 1]. Raises SVDError for an unknown layout.
    """
    if choose("layout", layout, SHEET_LAYOUTS) == "first middle last":
        cells = _shrink(clips[:, [0, clips.shape[1] // 2, -1]], max(2, width // 3))  # b 3 h w 3
        _label(cells[:, :1], labels)
        return arrange_grid(rearrange(cells, "b t h w d -> (b t) h w d"), 3)[None]
    across = count_columns(len(clips))
    cells = _shrink(clips, max(2, width // across))  # b t h w 3
    _label(cells, labels)
    return torch.stack([arrange_grid(frames, across) for frames in cells.unbind(1)])


def arrange_grid(cells: Tensor, columns: int) -> Tensor:
    """Put cells n h w d in reading order. Returns (r h) (columns w) d; places left over are 0."""
    rows = math.ceil(len(cells) / columns)
    blank = cells.new_zeros(rows * columns - len(cells), *cells.shape[1:])
    return rearrange(torch.cat([cells, blank]), "(r c) h w d -> (r h) (c w) d", r=rows)


def count_columns(cells: int) -> int:
    """Number of columns of a roughly square grid."""
    return math.ceil(math.sqrt(cells))


def _shrink(clips: Tensor, width: int) -> Tensor:
    """Resize a copy of the clips, b t h w 3, to at most `width`, with even sides."""
    b, _, h, w, _ = clips.shape
    scale = min(1.0, width / w)
    size = tuple(max(2, 2 * math.floor(scale * side / 2 + 1e-6)) for side in (h, w))
    frames = rearrange(clips, "b t h w d -> (b t) d h w")
    small = F.interpolate(frames, size=size, mode="bilinear", antialias=True).clamp(0.0, 1.0)
    return rearrange(small, "(b t) d h w -> b t h w d", b=b)


def _label(clips: Tensor, labels: Sequence[str]) -> None:
    """Write each label into the upper left corner of every frame, in place. clips: b t h w 3."""
    height, width = clips.shape[2:4]
    for clip, label in zip(clips, labels, strict=True):
        words = _draw_label(label, min(MAX_LABEL, max(MIN_LABEL, round(LABEL_SHARE * height))))[:height, :width].to(
            clip
        )
        clip[:, : words.shape[0], : words.shape[1]] = words


def _draw_label(words: str, size: int) -> Tensor:
    """Light text on a dark ground, h w 3 in [0, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(words)
    margin = size // 3
    picture = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), "#16181d")
    ImageDraw.Draw(picture).text((margin - left, margin - top), words, "#f1f2f4", font)
    return torch.from_numpy(np.array(picture)).float() / 255.0
