"""Draws what decoding a clip in separate pieces does to it, with the bundled model: the README's picture of the seam.

    python -m benchmarks.seams docs/seams.png [--pieces 4]

A still picture (motion bucket 0) is decoded as a whole, and in pieces that see nothing of each other, as other programs
do when memory is short. Drawn is how much the background changes from each frame to the next, mean over the pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from training.evaluate import Animator
from training.measure import still_pixels
from training.scenes import SLOWEST_FPS, Scene, evaluation_seeds, scene_of
from training.settings import NUM_FRAMES, SIZE

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 300, 60, 40, 44
SCENES = 8
COLOURS = {"whole": "#1f4e9c", "pieces": "#c0392b"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pieces", type=int, default=4, help="frames decoded together")
    options = parser.parse_args()
    animate = Animator(SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu"))
    changes: dict[str, list[np.ndarray]] = {"whole": [], "pieces": []}
    for seed in evaluation_seeds(SCENES):
        scene = scene_of(seed)
        latents = animate.latents(scene, bucket=0)
        pieces = np.concatenate([animate.decode(part) for part in latents.split(options.pieces)])
        for way, frames in (("whole", animate.decode(latents)), ("pieces", pieces)):
            changes[way].append(change_per_frame(frames, scene))
    means = {way: np.mean(each, axis=0) for way, each in changes.items()}
    for way, mean in means.items():
        print(f"{way:7}", np.round(mean, 2))
    draw(means, options.pieces).save(options.out)


def change_per_frame(frames: np.ndarray, scene: Scene) -> np.ndarray:
    """Mean change of the still pixels to the next frame, t-1, of 255."""
    still = still_pixels(scene, SIZE, NUM_FRAMES, 255.0, SLOWEST_FPS)
    return 255.0 * np.abs(np.diff(frames, axis=0))[:, still].mean(axis=(1, 2))


def draw(means: dict[str, np.ndarray], pieces: int) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    highest = max(float(mean.max()) for mean in means.values()) * 1.1
    across = (WIDTH - LEFT - 20) / (NUM_FRAMES - 1)

    def point(frame: float, value: float) -> tuple[float, float]:
        return LEFT + across * (frame - 0.5), HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / highest

    for value in np.arange(0.0, highest, 0.5 if highest < 4 else 2.0):
        pen.line([point(0.5, value), point(NUM_FRAMES - 0.5, value)], fill="#e4e8ee")
        pen.text((LEFT - 8, point(0, value)[1]), f"{value:g}", fill="black", anchor="rm")
    for frame in range(1, NUM_FRAMES):
        pen.text((point(frame, 0)[0], HEIGHT - BOTTOM + 12), f"{frame}-{frame + 1}", fill="black", anchor="mm")
    for row, (way, mean) in enumerate(means.items()):
        pen.line([point(t + 1, value) for t, value in enumerate(mean)], fill=COLOURS[way], width=3)
        label = "whole clip" if way == "whole" else f"pieces of {pieces} frames, decoded apart"
        pen.text((LEFT + 10 + 160 * row, 24), label, fill=COLOURS[way])
    pen.text((LEFT, 8), "change of a still background from frame to frame, of 255", fill="black")
    return picture


if __name__ == "__main__":
    main()
