"""The model that ships with the pack animates scenes it was never trained on, as its settings ask.

This is the one test that tells right from wrong by looking at the video: a wrong sign, order or scale anywhere between
the picture and the frames ruins the motion. The controls at the end show that it would.
"""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from svd_core import SVDPipeline
from svd_core.checkpoints import open_checkpoint
from svd_core.checkpoints.inventory import CLIP_PREFIX, FIRST_STAGE_PREFIX, UNET_PREFIX
from svd_core.checkpoints.releases import DEMO, DEMO_CHECKPOINT
from tools.workflow import PICTURE
from training.evaluate import BUCKETS, Animator, Figures, bars, evaluate, picture_of, without_motion
from training.measure import direction_error, psnr, rank_correlation, track
from training.scenes import evaluation_seeds, render, scene_of
from training.settings import DEMO as TRAINED
from training.settings import NUM_FRAMES, SIZE

LARGEST = 25 * 2**20
FEW_SCENES = 8  # --thorough: all 32
CONTROLS = evaluation_seeds(8)


@pytest.fixture(scope="module")
def figures(pytestconfig: pytest.Config) -> Figures:
    if pytestconfig.getoption("--thorough"):
        return evaluate(DEMO_CHECKPOINT)
    return evaluate(DEMO_CHECKPOINT, evaluation_seeds(FEW_SCENES), workers=1)


@pytest.fixture(scope="module")
def pipe() -> SVDPipeline:
    return SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu")


@pytest.fixture(scope="module")
def animate(pipe: SVDPipeline) -> Animator:
    return Animator(pipe)


def test_file_is_small_fp16_and_in_the_official_layout() -> None:
    assert DEMO_CHECKPOINT.stat().st_size <= LARGEST
    with safe_open(str(DEMO_CHECKPOINT), framework="pt") as file:
        names = list(file.keys())
        assert {file.get_slice(name).get_dtype() for name in names} == {"F16"}
    assert all(name.startswith((UNET_PREFIX, FIRST_STAGE_PREFIX, CLIP_PREFIX)) for name in names)
    checkpoint = open_checkpoint(DEMO_CHECKPOINT)
    assert checkpoint.config == TRAINED
    assert checkpoint.release == DEMO
    assert (DEMO.width, DEMO.height, DEMO.num_frames) == (SIZE, SIZE, NUM_FRAMES)


@pytest.mark.parametrize("index", range(7))
def test_bar(figures: Figures, index: int) -> None:
    bar = bars(figures)[index]
    print(bar)
    assert bar.met, str(bar)


def test_pictures_from_nowhere_give_a_finite_clip(pipe: SVDPipeline) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 200, 3), dtype=np.uint8)
    for picture in (Image.open(PICTURE), Image.fromarray(noise), Image.new("L", (96, 96))):
        clip = pipe(picture, num_inference_steps=5, output="tensor", progress=False)
        assert clip.shape == (NUM_FRAMES, SIZE, SIZE, 3)
        assert clip.isfinite().all() and float(clip.min()) >= 0.0 and float(clip.max()) <= 1.0


def test_control_without_the_motion_bucket_speed_does_not_follow_it(
    animate: Animator, pytestconfig: pytest.Config
) -> None:
    ranks = []
    with without_motion(animate.pipe):
        for seed in CONTROLS if pytestconfig.getoption("--thorough") else CONTROLS[:4]:
            scene = scene_of(seed)
            steps = [track(animate.clip(scene, bucket), scene)[0].step for bucket in BUCKETS]
            ranks.append(rank_correlation(BUCKETS, steps))
    assert max(abs(rank) for rank in ranks) < 0.5


def test_control_with_another_scene_behind_the_picture_nothing_fits(animate: Animator) -> None:
    errors, likeness = [], []
    for seed in CONTROLS:
        scene = scene_of(seed)
        with picture_of(animate.pipe, scene_of(seed + len(CONTROLS))):
            clip = animate.clip(scene)
        errors.append(direction_error(track(clip, scene)[0], scene.sprites[0]))
        likeness.append(psnr(clip[0], render(scene, SIZE, 1)[0]))
    assert median(errors) > 45.0
    assert median(likeness) < 15.0
