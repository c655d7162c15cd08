"""The picture of all frames that is shown while sampling."""

from __future__ import annotations

import numpy as np
import torch

from svd_core.preview import contact_sheet

IDENTITY = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]]


def frames_of_levels(levels: list[float]) -> torch.Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 4, 2, 3)


def test_frames_stand_in_reading_order() -> None:
    sheet = np.asarray(contact_sheet(frames_of_levels([-1.0, 0.0, 1.0, -1.0, 1.0]), IDENTITY))
    assert sheet.shape == (4, 9, 3)  # two rows of three frames, each 2 x 3
    assert [int(sheet[0, column, 0]) for column in (0, 3, 6)] == [0, 128, 255]
    assert [int(sheet[2, column, 0]) for column in (0, 3, 6)] == [0, 255, 0]  # the last place is empty


def test_colours_are_the_linear_guess() -> None:
    latent = torch.tensor([0.2, -0.4, 0.6, 5.0])[None, :, None, None]
    (pixel,) = np.asarray(contact_sheet(latent, IDENTITY, [0.0, 0.4, 0.0])).reshape(1, 3)
    assert pixel.tolist() == [153, 128, 204]


def test_values_that_are_not_finite_are_shown_as_something() -> None:
    latent = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0])[None, :, None, None]
    assert np.asarray(contact_sheet(latent, [[1.0, 1.0, 1.0]] * 4)).shape == (1, 1, 3)


def test_sixteen_bit_latents_and_one_frame() -> None:
    assert contact_sheet(torch.zeros(1, 4, 5, 7, dtype=torch.float16), IDENTITY).size == (7, 5)
