"""Measure how far the colours of the bundled model's clips drift from the picture, before and after the colour match.

    python -m benchmarks.colour_drift [--scenes 8]

Colours are those of the still background, which the scene never changes: the distance in CIE Lab (ΔE, 1 is about what
an eye can see) between its mean colour in a frame and in the picture. Strong guidance makes clips drift.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from kornia.color import rgb_to_lab

from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.images.colours import match_colours
from training.evaluate import Animator
from training.measure import still_pixels
from training.scenes import SLOWEST_FPS, Scene, evaluation_seeds, render, scene_of
from training.settings import NUM_FRAMES, SIZE

GUIDANCE = (1.5, 3.0)  # the model's own, and that of the XT models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8)
    options = parser.parse_args()
    animate = Animator(SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu"))
    for max_cfg_scale in GUIDANCE:
        drifts = [measure(animate, scene_of(seed), max_cfg_scale) for seed in evaluation_seeds(options.scenes)]
        for way, drift in zip(("sampled", "matched"), np.mean(drifts, axis=0), strict=True):
            first, middle, last = drift[[0, NUM_FRAMES // 2, -1]]
            print(f"max_cfg {max_cfg_scale:g}  {way}: first frame {first:.2f}, middle {middle:.2f}, last {last:.2f}")


def measure(animate: Animator, scene: Scene, max_cfg_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """ΔE of every frame, as sampled and as matched, t each."""
    picture = render(scene, SIZE, 1)[0]
    frames = animate.clip(scene, max_cfg_scale=max_cfg_scale)
    matched = match_colours(torch.from_numpy(frames), torch.from_numpy(picture)).numpy()
    return drift(frames, picture, scene), drift(matched, picture, scene)


def drift(frames: np.ndarray, picture: np.ndarray, scene: Scene) -> np.ndarray:
    """frames: t h w 3; picture: h w 3. Returns t."""
    still = torch.from_numpy(still_pixels(scene, SIZE, NUM_FRAMES, 255.0, SLOWEST_FPS))
    lab = rgb_to_lab(torch.from_numpy(np.concatenate([picture[None], frames])).movedim(-1, 1))  # 1+t 3 h w
    means = lab[:, :, still].mean(-1)
    return (means[1:] - means[0]).norm(dim=-1).numpy()


if __name__ == "__main__":
    main()
