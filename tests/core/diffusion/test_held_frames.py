"""Frames, and parts of frames, that stay what they were given as."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from svd_core import SVDError, SVDPipeline
from svd_core.diffusion.held_frames import hold_frames, parse_frame_ids, resize_masks
from svd_core.diffusion.noise import step_generator
from svd_core.diffusion.samplers import SAMPLERS
from svd_core.diffusion.schedules import karras_sigmas
from svd_core.pipeline.given_frames import GivenFrames
from svd_core.pipeline.settings import ResolvedSettings
from tests.core.pipeline.test_pipeline import PICTURE, SETTINGS
from tests.support.random_checkpoint import tiny_config, write_checkpoint

T, H, W = 5, 2, 3
Z = torch.randn(2, 4, H, W, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(T, 4, H, W, generator=torch.Generator().manual_seed(1))
PICTURES = np.random.default_rng(2).random((2, 16, 32, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> SVDPipeline:
    path = write_checkpoint(tmp_path_factory.mktemp("held") / "tiny.safetensors", tiny_config())
    return SVDPipeline.from_checkpoint(path, device="cpu")


def nonsense(x: Tensor, sigma: Tensor) -> Tensor:
    """A model that would lead anywhere."""
    return x.mean(0, keepdim=True).tanh() + 0 * x


def test_pictures_go_to_their_places() -> None:
    held = hold_frames(Z, [3, -5], T)
    assert torch.equal(held.latents[[3, 0]], Z)
    assert held.mask[:, 0, 0, 0].tolist() == [1, 0, 0, 1, 0]


def test_the_model_sees_held_frames_at_the_noise_level_of_the_step() -> None:
    held, seen = hold_frames(Z, [0, 4], T), []

    def look(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append((x, sigma))
        return nonsense(x, sigma)

    sigmas = karras_sigmas(6)
    SAMPLERS["euler"](held.denoiser(look, NOISE), NOISE * 700, sigmas)
    assert len(seen) == 6
    for x, sigma in seen:
        assert torch.allclose(x[[0, 4]], Z + sigma * NOISE[[0, 4]])
        assert not torch.allclose(x[1], held.latents[1] + sigma * NOISE[1]) or sigma == 700


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_held_frames_are_themselves_after_the_last_step(sampler: str) -> None:
    held = hold_frames(Z, [1, 2], T)
    x = SAMPLERS[sampler](held.denoiser(nonsense, NOISE), NOISE * 700, karras_sigmas(5), generator=step_generator(0))
    assert torch.allclose(x[[1, 2]], Z, atol=1e-3)
    assert not torch.allclose(x[3], Z[0], atol=0.1)


def test_a_mask_holds_a_region() -> None:
    masks = torch.zeros(2, H, W)
    masks[0, 0], masks[1, :, 2] = 1.0, 1.0
    held = hold_frames(Z, [0, 1], T, masks)
    x = SAMPLERS["euler"](held.denoiser(nonsense, NOISE), NOISE * 700, karras_sigmas(5))
    assert torch.allclose(x[0, :, 0], Z[0, :, 0], atol=1e-3) and not torch.allclose(x[0, :, 1], Z[0, :, 1], atol=0.1)
    assert torch.allclose(x[1, :, :, 2], Z[1, :, :, 2], atol=1e-3)
    assert not torch.allclose(x[1, :, :, 0], Z[1, :, :, 0], atol=0.1)


def test_a_mask_of_pixels_becomes_the_share_of_each_cell() -> None:
    pixels = torch.zeros(1, 16, 24)
    pixels[:, :4] = 1.0
    mask = resize_masks(pixels, 2, torch.empty(1, 1, H, W))
    assert mask.shape == (1, 1, H, W) and mask[0, 0].tolist() == [[0.5] * 3, [0.0] * 3]


def test_what_is_free_starts_from_the_clip() -> None:
    clip = torch.ones(T, 4, H, W)
    masks = torch.zeros(1, H, W)
    masks[0, 0, 0] = 0.25
    held = hold_frames(Z[:1], [2], T, masks, clip)
    assert torch.equal(held.latents[2, :, 0, 0], Z[0, :, 0, 0])
    assert float((held.latents - 1).abs().sum()) == pytest.approx(float((Z[0, :, 0, 0] - 1).abs().sum()))


@pytest.mark.parametrize("text, ids", [("0, -1", [0, -1]), (" 3 1\n", [3, 1]), ("ALL", [0, 1, 2, 3, 4]), ("", [])])
def test_frame_ids_are_read_as_people_write_them(text: str, ids: list[int]) -> None:
    assert parse_frame_ids(text, T) == ids


@pytest.mark.parametrize(
    "ids, words",
    [
        ([0, 5], "no frame 5 in a clip of 5 frames"),
        ([-6, 0], "no frame -6"),
        ([4, -1], "Frame 4 is to be held 2 times"),
        ([], "No held frames are named"),
        ([0], "2 pictures for 1 held frames"),
        ([0, 1, 2], "2 pictures for 3 held frames"),
    ],
)
def test_frames_that_cannot_be_held_are_refused(ids: list[int], words: str) -> None:
    with pytest.raises(SVDError, match=words):
        hold_frames(Z, ids, T)


def test_ids_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(SVDError, match="'first, last'"):
        parse_frame_ids("first, last", T)


def test_too_many_masks_are_refused() -> None:
    with pytest.raises(SVDError, match="3 masks for 2 held frames"):
        hold_frames(Z, [0, 1], T, torch.zeros(3, H, W))


# --- in the pipeline ------------------------------------------------------------------------------------------------


def latent_of(pipe: SVDPipeline, picture: np.ndarray) -> Tensor:
    with torch.inference_mode():
        return pipe.encode_frame(torch.from_numpy(picture).movedim(-1, 0)[None])[0]


def test_the_pipeline_holds_pictures_and_leaves_the_rest(pipe: SVDPipeline) -> None:
    free = pipe(PICTURE, **SETTINGS, output="latent")
    held = pipe(PICTURE, **SETTINGS, output="latent", mask_frames=PICTURES, mask_frame_ids=[0, -1])
    for place, picture in ((0, PICTURES[0]), (2, PICTURES[1])):
        assert torch.allclose(held[place], latent_of(pipe, picture), atol=1e-4)
    assert not torch.allclose(held[1], free[1], atol=3e-4)  # it goes with its neighbours


def test_pictures_of_other_sizes_are_fitted(pipe: SVDPipeline) -> None:
    wide = np.repeat(PICTURES[0], 2, axis=1)
    held = pipe(PICTURE, **SETTINGS, output="latent", mask_frames=[wide, PICTURES[1]], mask_frame_ids=[0, 1])
    assert torch.allclose(held[1], latent_of(pipe, PICTURES[1]), atol=1e-4)


def test_masks_and_a_video_go_together(pipe: SVDPipeline) -> None:
    mask = np.zeros((16, 32), bool)
    mask[:8] = True
    settings = {**SETTINGS, "output": "latent", "input_video": [PICTURES[0]] * 3, "denoising_strength": 0.5}
    held = pipe(PICTURE, **settings, mask_frames=PICTURES[1:], mask_frame_ids=[1], masks=mask)
    z = latent_of(pipe, PICTURES[1])
    rows = z.shape[-2] // 2
    assert torch.allclose(held[1, :, :rows], z[:, :rows], atol=1e-4)
    assert not torch.allclose(held[1, :, rows:], z[:, rows:], atol=1e-2)


def test_masks_are_fitted_as_their_pictures_are() -> None:
    """A clip of 64x32 shows the middle half of a square picture, rows 16 to 48: its upper 24 rows end at row 8."""
    drawn, of_the_clip = np.zeros((64, 64), np.float32), np.zeros((4, 8), bool)  # of different sizes
    drawn[:24], of_the_clip[:, :2] = 1.0, True
    pictures = [np.zeros((64, 64, 3), np.uint8)] * 2
    given = GivenFrames(mask_frames=pictures, mask_frame_ids=[0, 2], masks=[drawn, of_the_clip])
    for fit, rows in (("crop", [1, 0, 0, 0]), ("stretch", [1, 0.5, 0, 0]), ("pad", [1, 0.5, 0, 0])):
        settings = ResolvedSettings(num_frames=3, width=64, height=32, fit=fit)
        _, held = given.encode(lambda pixels: torch.zeros(1, 4, 4, 8), settings)
        assert held is not None
        assert held.mask[0, 0, :, 4].tolist() == pytest.approx(rows, abs=0.05)
        assert held.mask[2, 0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert held.mask[0, 0, 0].round().tolist() == [0, 0, 1, 1, 1, 1, 0, 0]  # black bars are free


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"mask_frames": PICTURES, "mask_frame_ids": [0, 1], "masks": []}, "0 masks for 2"),
        ({"mask_frames": PICTURES, "mask_frame_ids": [0, 1], "masks": [np.ones(4)]}, "A mask has the shape .4,."),
        ({"mask_frame_ids": [0]}, "0 mask_frames for 1 mask_frame_ids"),
        ({"mask_frames": PICTURES}, "No held frames are named"),
        ({"mask_frames": PICTURES, "mask_frame_ids": [0]}, "2 mask_frames for 1"),
        ({"mask_frames": PICTURES, "mask_frame_ids": [0, 3]}, "no frame 3"),
        ({"mask_frames": PICTURES, "mask_frame_ids": [0, 0]}, "held 2 times"),
        ({"mask_frames": PICTURES, "mask_frame_ids": [0, 1], "masks": np.full((16, 32), 255.0)}, "from 0 .free. to 1"),
        ({"mask_frames": PICTURES, "mask_frame_ids": [0, 1], "masks": [np.ones((4, 4))] * 3}, "3 masks for 2"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    pipe: SVDPipeline, monkeypatch: pytest.MonkeyPatch, arguments: dict, words: str
) -> None:
    monkeypatch.setattr(pipe, "encode_image", lambda *_: pytest.fail("work was done"))
    with pytest.raises(SVDError, match=words):
        pipe(PICTURE, **SETTINGS, **arguments)
