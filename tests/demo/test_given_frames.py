"""Held frames and the colour match, on scenes whose every frame is known."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import numpy as np
import pytest
import torch

from benchmarks.colour_drift import measure
from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from training.evaluate import BUCKET, FPS, Animator
from training.measure import psnr, track
from training.scenes import Scene, evaluation_seeds, render, scene_of
from training.settings import NUM_FRAMES, SIZE

SCENES = [scene_of(seed) for seed in evaluation_seeds(3)]
HELD = [0, NUM_FRAMES - 1]


@pytest.fixture(scope="module")
def animate() -> Animator:
    return Animator(SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu"))


@pytest.fixture(scope="module")
def clips(animate: Animator) -> list[np.ndarray]:
    """Clips of each scene, with its true first and last frame held."""
    return [animate.clip(scene, mask_frames=truth(scene)[HELD], mask_frame_ids=[0, -1]) for scene in SCENES]


def truth(scene: Scene) -> np.ndarray:
    return render(scene, SIZE, NUM_FRAMES, BUCKET, FPS)


def encoded_and_decoded(animate: Animator, picture: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return animate.decode(animate.pipe.encode_frame(torch.from_numpy(picture).movedim(-1, 0)[None]))[0]


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_held_frames_are_what_encode_and_decode_alone_give(
    animate: Animator, clips: list[np.ndarray], index: int
) -> None:
    frames = truth(SCENES[index])
    for place in HELD:
        alone = psnr(encoded_and_decoded(animate, frames[place]), frames[place])
        assert psnr(clips[index][place], frames[place]) >= alone - 0.5
        others = [psnr(clips[index][place], frame) for t, frame in enumerate(frames) if abs(t - place) > 2]
        assert psnr(clips[index][place], frames[place]) > max(others) + 3  # of all frames it is this one


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_frames_between_two_held_ones_go_from_one_to_the_other(
    animate: Animator, clips: list[np.ndarray], index: int
) -> None:
    """Compared with the two after encode and decode, which move one scene's sprite by half a pixel."""
    scene = SCENES[index]
    ends = np.stack([encoded_and_decoded(animate, frame) for frame in truth(scene)[HELD]])
    held, made = track(ends, scene), track(clips[index], scene)
    for sprite, path, held_path in zip(scene.sprites, made, held, strict=True):
        along = (path.centres - held_path.centres[0]) @ np.array(sprite.direction)
        whole = float((held_path.centres[-1] - held_path.centres[0]) @ np.array(sprite.direction))
        assert all(before < after for before, after in pairwise(along)), along
        assert along[0] == pytest.approx(0.0, abs=0.5) and along[-1] == pytest.approx(whole, abs=0.5)


def test_colours_drift_less_once_they_are_matched(animate: Animator) -> None:
    drifts = [measure(animate, scene, max_cfg_scale=3.0) for scene in SCENES]
    before, after = (median(float(drift[way][-1]) for drift in drifts) for way in (0, 1))
    assert after < 0.6 * before
