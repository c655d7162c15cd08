"""Measures of a clip of a scene: where its sprites go, how fast, and how calm the rest is. NumPy only.

The scene tells what the background looks like without sprites; what differs from it is sprite. So a clip is measured
without knowing how it was made, and blur, noise or a slight tint do not mislead.

Clips are t h w 3 floats in [0, 1] of square pictures; a batch of one or a tensor on another device is for the caller to
unpack. Lengths are in pixels, x right and y down. All functions raise SVDError for clips of another shape or kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from svd_core.errors import SVDError

from .scenes import SLOWEST_FPS, Scene, positions, render, render_background
from .sprites import Sprite

DIFFERENCE = 0.2  # RGB distance to the background below which a pixel does not count: noise, blur, compression
FULL = 0.7  # and the one from which it counts in full: so a sprite's weight hardly depends on what it is in front of
REACH = 0.06  # how far around a sprite it is looked for, in widths beyond its own radius
LOST = 0.15  # share of its first mass below which a sprite counts as gone
STILL_STEP = 0.02  # pixels per frame; slower sprites have no direction


@dataclass(frozen=True)
class Track:
    """One sprite over the clip. centres: t 2 (x, y); mass: t, how much of it is seen, 1 as the scene draws it."""

    centres: np.ndarray
    mass: np.ndarray

    @property
    def velocity(self) -> tuple[float, float]:
        """The x, y travel per frame: the slopes of the least-squares lines through the centres."""
        if len(self.centres) < 2:
            return 0.0, 0.0
        times = np.arange(len(self.centres)) - (len(self.centres) - 1) / 2.0
        x, y = times @ self.centres / (times @ times)
        return float(x), float(y)

    @property
    def step(self) -> float:
        """Displacement per frame, the length of the velocity."""
        return math.hypot(*self.velocity)

    @property
    def drift(self) -> float:
        """The furthest that the centre gets from where it was in the first frame."""
        return float(np.linalg.norm(self.centres - self.centres[0], axis=1).max())

    @property
    def seen(self) -> float:
        """The share of frames in which the sprite is there."""
        return float((self.mass > LOST).mean())


def track(clip: Any, scene: Scene) -> tuple[Track, ...]:
    """Follow every sprite of the scene from its place in the first picture on.

    The centre is the mean of the pixels around the last centre, weighted by their difference from the background. A
    sprite that is gone stays where it was last seen.
    """
    frames = _frames(clip)
    size = frames.shape[1]
    centres = positions(scene, 1)[:, 0] * size  # s 2
    radii = [sprite.size * size / 2.0 for sprite in scene.sprites]
    drawn = _locate(_sprite_share(render(scene, size, 1), scene)[0], centres, radii)[1]
    path, masses = [], []
    for share in _sprite_share(frames, scene):
        centres, mass = _locate(share, centres, radii)
        path.append(centres)
        masses.append(mass / np.maximum(drawn, 1e-6))
    return tuple(Track(c, m) for c, m in zip(np.stack(path, 1), np.stack(masses, 1), strict=True))


def direction_error(track: Track, sprite: Sprite) -> float:
    """The angle between travel and drawn heading, in degrees from 0 to 180.

    90, as chance has it on average, for a sprite that stands still or is gone for more than half of the clip.
    """
    x, y = track.velocity
    if track.step < STILL_STEP or track.seen < 0.5:
        return 90.0
    cosine, sine = sprite.direction
    return abs(math.degrees(math.atan2(cosine * y - sine * x, cosine * x + sine * y)))


def psnr(picture: Any, reference: Any) -> float:
    """Peak signal-to-noise ratio in decibels of two arrays in [0, 1], of one shape; infinite where they are equal."""
    picture, reference = (np.asarray(each, np.float64) for each in (picture, reference))
    if picture.shape != reference.shape:
        raise SVDError(
            f"Pictures of the shapes {picture.shape} and {reference.shape} cannot be compared; give two of one shape."
        )
    error = float(np.mean((picture - reference) ** 2))
    return math.inf if error == 0.0 else -10.0 * math.log10(error)


def flicker(clip: Any, scene: Scene, motion_bucket_id: float = 255.0, fps: float = SLOWEST_FPS) -> float:
    """The temporal standard deviation of still background pixels, in units of 1/255: mean over pixels and colours.

    Still are those no sprite comes near. By default the longest travel is kept clear, so that clips of all speeds are
    judged by the same pixels.
    """
    frames = _frames(clip)
    still = still_pixels(scene, frames.shape[1], len(frames), motion_bucket_id, fps)
    return 255.0 * float(frames.std(axis=0)[still].mean())


def still_pixels(
    scene: Scene, size: int, num_frames: int, motion_bucket_id: float, fps: float, margin: float = 0.06
) -> np.ndarray:
    """Find the pixels that lie further than `margin` (in widths) from the path of every sprite, h w bool."""
    middles = (np.arange(size) + 0.5) / size
    pixels = np.stack(np.meshgrid(middles, middles), axis=-1)  # h w 2 (x, y)
    still = np.ones((size, size), bool)
    for sprite, path in zip(scene.sprites, positions(scene, num_frames, motion_bucket_id, fps), strict=True):
        along = ((pixels - path[0]) @ sprite.direction).clip(0.0, math.dist(path[0], path[-1]))
        nearest = path[0] + along[..., None] * sprite.direction
        still &= np.linalg.norm(pixels - nearest, axis=-1) > sprite.size / 2.0 + margin
    return still


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, in [-1, 1]; equal numbers share their mean rank. 0 if all of a or of b are equal."""
    if len(a) != len(b) or len(a) < 2:
        raise SVDError(f"Ranks of {len(a)} and {len(b)} numbers cannot be compared; give two lists of equal length.")
    x, y = (_ranks(np.asarray(each, np.float64)) for each in (a, b))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0.0 else 0.0


def _ranks(numbers: np.ndarray) -> np.ndarray:
    """Ranks less their mean."""
    below = (numbers[:, None] > numbers).sum(1)
    equal = (numbers[:, None] == numbers).sum(1)
    ranks = below + (equal - 1) / 2.0
    return ranks - ranks.mean()


def _frames(clip: Any) -> np.ndarray:
    """The clip as t h w 3 fp32."""
    frames = np.asarray(clip)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.shape[1] != frames.shape[2] or not frames.size:
        raise SVDError(f"The clip has the shape {frames.shape}; give frames x side x side x 3.")
    if frames.dtype.kind != "f" or not np.isfinite(frames).all():
        raise SVDError("The clip holds other numbers than finite floats; give floats from 0 to 1.")
    return frames.astype(np.float32, copy=False)


def _sprite_share(frames: np.ndarray, scene: Scene) -> np.ndarray:
    """Share of sprite in every pixel, t h w in [0, 1]. A tint of the whole frame is taken off first."""
    change = frames - render_background(scene.background, frames.shape[1])
    change -= np.median(change, axis=(1, 2), keepdims=True)  # sprites cover little, so this is the tint
    return ((np.linalg.norm(change, axis=-1) - DIFFERENCE) / (FULL - DIFFERENCE)).clip(0.0, 1.0)


def _locate(share: np.ndarray, centres: np.ndarray, radii: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The centres s 2 of the sprites in a frame, and their mass s, from their centres in the one before.

    A window follows the centre until it has the sprite in its middle; of two sprites each has the pixels nearer to it.
    """
    size = len(share)
    middles = np.arange(size) + 0.5
    mass = np.zeros(len(centres))
    for _ in range(4):
        from_x, from_y = (middles - centres[:, axis, None] for axis in (0, 1))  # s w, s h
        outside = np.sqrt(from_x[:, None, :] ** 2 + from_y[:, :, None] ** 2) - np.reshape(radii, (-1, 1, 1))  # s h w
        own = (outside < REACH * size) & (outside == outside.min(0))
        weights = own * share
        mass = weights.sum((1, 2))
        shift = np.stack([(weights * from_x[:, None, :]).sum((1, 2)), (weights * from_y[:, :, None]).sum((1, 2))], -1)
        centres = centres + shift / np.maximum(mass, 1e-6)[:, None]
    return centres, mass
