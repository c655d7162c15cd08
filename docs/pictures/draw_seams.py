"""Draw what decoding a clip in separate pieces does to it, with the bundled model.

    python -m docs.pictures.draw_seams docs/seams.png [--pieces 4]

A still picture (motion bucket 0) is decoded as a whole, and in pieces that see nothing of each other, as other programs
do when memory is short. Drawn is how much the background changes from each frame to the next, mean over the pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from training.evaluate import Animator
from training.measure import still_pixels
from training.scenes import SLOWEST_FPS, Scene, evaluation_seeds, scene_of
from training.settings import NUM_FRAMES, SIZE

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
    draw(means, options.pieces).savefig(options.out)


def change_per_frame(frames: np.ndarray, scene: Scene) -> np.ndarray:
    """Mean change of the still pixels to the next frame, t-1, of 255."""
    still = still_pixels(scene, SIZE, NUM_FRAMES, 255.0, SLOWEST_FPS)
    return 255.0 * np.abs(np.diff(frames, axis=0))[:, still].mean(axis=(1, 2))


def draw(means: dict[str, np.ndarray], pieces: int) -> Figure:
    """means: for the whole clip and for pieces, the mean change to the next frame, t-1."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = figure.subplots()
    labels = {"whole": "whole clip", "pieces": f"pieces of {pieces} frames, decoded apart"}
    for way, mean in means.items():
        axes.plot(range(1, NUM_FRAMES), mean, color=COLOURS[way], linewidth=2, label=labels[way])
    axes.set_xticks(range(1, NUM_FRAMES), [f"{frame}-{frame + 1}" for frame in range(1, NUM_FRAMES)])
    axes.set_ylim(bottom=0.0)
    axes.set_title("change of a still background from frame to frame, of 255", loc="left", fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="upper left", ncols=2)
    return figure


if __name__ == "__main__":
    main()
