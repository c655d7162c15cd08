"""Clips of a checkpoint to look at: a contact sheet, the README's animation, the example's thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw

from .evaluate import FPS, Animator
from .scenes import EXAMPLE_SEED, evaluation_seeds, render, scene_of
from .settings import NUM_FRAMES, SIZE

SHOWN_SEEDS = (EXAMPLE_SEED, *(evaluation_seeds()[index] for index in (2, 5)))
SHOWN_BUCKETS = (0, 60, 127, 255)
SCALE = 2
HEADER = 22  # pixels of text above the columns
GAP = 6
THUMBNAIL_FRAMES = (0, 4, 8, 13)
THUMBNAIL_SIZE = 512


def contact_sheet(animate: Animator, path: Path, seeds: Sequence[int], bucket: float = 200, fps: float = FPS) -> None:
    """For each scene a row of drawn frames above a row of made ones."""
    rows = []
    for seed in seeds:
        scene = scene_of(seed)
        drawn = render(scene, SIZE, NUM_FRAMES, bucket, fps)
        made = animate.clip(scene, bucket, fps)
        rows += [np.concatenate(list(clip[::3]), axis=1) for clip in (drawn, made)]
    Image.fromarray(_levels(np.concatenate(rows))).save(path)


def animation(animate: Animator, path: Path, seeds: Sequence[int] = SHOWN_SEEDS) -> None:
    """An animated picture: a row for each scene, the still input, then its clip in each motion bucket."""
    rows = []
    for seed in seeds:
        scene = scene_of(seed)
        still = np.repeat(render(scene, SIZE, 1), NUM_FRAMES, axis=0)
        rows.append([still, *(animate.clip(scene, bucket) for bucket in SHOWN_BUCKETS)])
    titles = ["picture", *(f"motion bucket {bucket}" for bucket in SHOWN_BUCKETS)]
    frames = [_page(titles, [[clip[t] for clip in row] for row in rows]) for t in range(NUM_FRAMES)]
    pauses = [1000 // FPS] * (NUM_FRAMES - 1) + [700]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=pauses, loop=0, quality=80, method=6)


def thumbnail(animate: Animator, path: Path) -> None:
    """Four moments of the example's clip in a square: its thumbnail in the template browser."""
    clip = animate.clip(scene_of(EXAMPLE_SEED), bucket=255)
    square = rearrange(clip[list(THUMBNAIL_FRAMES)], "(rows columns) h w c -> (rows h) (columns w) c", rows=2)
    picture = Image.fromarray(_levels(square)).resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    middle = THUMBNAIL_SIZE // 2
    draw.line([(middle, 0), (middle, THUMBNAIL_SIZE)], "white", GAP // 2)
    draw.line([(0, middle), (THUMBNAIL_SIZE, middle)], "white", GAP // 2)
    picture.save(path, quality=88, optimize=True)


def _page(titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    side = SIZE * SCALE
    page = Image.new("RGB", (len(titles) * (side + GAP) - GAP, HEADER + len(rows) * (side + GAP) - GAP), "white")
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        draw.text((column * (side + GAP) + side // 2, HEADER // 2), title, fill="black", anchor="mm")
    for line, row in enumerate(rows):
        for column, frame in enumerate(row):
            tile = Image.fromarray(_levels(frame)).resize((side, side), Image.Resampling.BICUBIC)
            page.paste(tile, (column * (side + GAP), HEADER + line * (side + GAP)))
    return page


def _levels(pixels: np.ndarray) -> np.ndarray:
    return (255.0 * pixels.clip(0.0, 1.0)).round().astype(np.uint8)
