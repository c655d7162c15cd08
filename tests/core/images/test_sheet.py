"""Clips side by side: places, labels, sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from svd_core.errors import SVDError
from svd_core.images.contact_sheet import arrange_grid, draw_sheet


def clips_of_levels(levels: list[list[float]], height: int = 64, width: int = 96) -> Tensor:
    """A clip for each list, a level for each frame."""
    return torch.tensor(levels)[:, :, None, None, None].expand(-1, -1, height, width, 3)


def middles(picture: Tensor, rows: int, columns: int) -> list[list[float]]:
    """The level in the middle of every place."""
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return [
        [round(float(picture[int((r + 0.5) * height), int((c + 0.5) * width), 0]), 3) for c in range(columns)]
        for r in range(rows)
    ]


def test_grid_is_in_reading_order_and_blank_where_nothing_is_left() -> None:
    cells = torch.arange(1, 6)[:, None, None, None].expand(-1, 2, 3, 1)
    assert arrange_grid(cells, 3)[::2, ::3, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_moving_sheet_shows_every_clip_at_every_frame() -> None:
    sheet = draw_sheet(clips_of_levels([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), ["1", "2", "3"], 400)
    assert sheet.shape == (2, 128, 192, 3)
    assert [middles(picture, 2, 2) for picture in sheet] == [[[0.1, 0.3], [0.5, 0.0]], [[0.2, 0.4], [0.6, 0.0]]]


def test_still_sheet_has_a_row_for_each_clip() -> None:
    levels = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 1.0]]
    sheet = draw_sheet(clips_of_levels(levels), ["1", "2"], 288, "first middle last")
    assert sheet.shape == (1, 128, 288, 3)
    assert middles(sheet[0], 2, 3) == [[0.1, 0.3, 0.5], [0.6, 0.8, 1.0]]
    first, *others = sheet[0][:64].split(96, dim=1)  # the upper row, of which the first frame is labelled
    assert first.std() > 0.01
    assert all(other.std() < 1e-4 for other in others)


def test_labels_tell_clips_apart_and_leave_the_input_alone() -> None:
    clips = clips_of_levels([[0.5, 0.5], [0.5, 0.5]]).clone()
    first, second = draw_sheet(clips, ["1: seed 7", "2: seed 8"], 192)[0].split(96, dim=1)
    assert not torch.equal(first, second)
    assert not torch.equal(first[:16], torch.full_like(first[:16], 0.5))
    assert torch.equal(first[32:], second[32:])
    assert (clips == 0.5).all()


@pytest.mark.parametrize(("width", "size"), [(100, (32, 50)), (1000, (64, 96)), (2, (2, 2))])
def test_clips_are_reduced_to_fit_and_sides_are_even(width: int, size: tuple[int, int]) -> None:
    """Two columns at most; a label that does not fit is cut."""
    sheet = draw_sheet(clips_of_levels([[0.5], [0.5]]), ["a long label", "b"], width)
    assert sheet.shape[1:3] == (size[0], 2 * size[1])


def test_values_stay_in_range() -> None:
    noise = torch.rand(1, 1, 50, 70, 3, generator=torch.Generator().manual_seed(0))
    sheet = draw_sheet(noise, ["1"], 40)
    assert float(sheet.min()) >= 0.0 and float(sheet.max()) <= 1.0


def test_unknown_layout_is_refused() -> None:
    with pytest.raises(SVDError, match="'spiral'"):
        draw_sheet(clips_of_levels([[0.5]]), ["1"], 100, "spiral")
