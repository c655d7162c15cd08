"""The picture of all frames that is shown while sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from svd_core.errors import SVDError
from svd_core.images.preview import decode_preview, draw_preview, guess_colours
from svd_core.models.tiny_decoder import MemoryBlock, TinyVideoDecoder, load_tiny_decoder

IDENTITY = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]]


def frames_of_levels(levels: list[float]) -> Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 4, 2, 3)


def sheet_of(x0: Tensor, factors: list[list[float]] = IDENTITY) -> np.ndarray:
    return np.asarray(draw_preview(guess_colours(x0, factors)))


@pytest.fixture(scope="module")
def decoder() -> TinyVideoDecoder:
    torch.manual_seed(0)
    return TinyVideoDecoder().eval().requires_grad_(False)


def latents(frames: int, height: int, width: int) -> Tensor:
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(1))


def test_frames_stand_in_reading_order() -> None:
    sheet = sheet_of(frames_of_levels([-1.0, 0.0, 1.0, -1.0, 1.0]))
    assert sheet.shape == (4, 9, 3)  # two rows of three frames, each 2 x 3
    assert [int(sheet[0, column, 0]) for column in (0, 3, 6)] == [0, 128, 255]
    assert [int(sheet[2, column, 0]) for column in (0, 3, 6)] == [0, 255, 0]  # the last place is empty


def test_colours_are_the_linear_guess() -> None:
    latent = torch.tensor([0.2, -0.4, 0.6, 5.0])[None, :, None, None]
    (pixel,) = np.asarray(draw_preview(guess_colours(latent, IDENTITY, [0.0, 0.4, 0.0]))).reshape(1, 3)
    assert pixel.tolist() == [153, 128, 204]


def test_values_that_are_not_finite_are_shown_as_something() -> None:
    latent = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0])[None, :, None, None]
    assert sheet_of(latent, [[1.0, 1.0, 1.0]] * 4).shape == (1, 1, 3)


def test_sixteen_bit_latents_and_one_frame() -> None:
    assert sheet_of(torch.zeros(1, 4, 5, 7, dtype=torch.float16)).shape == (5, 7, 3)


def test_memory_is_that_of_the_frame_before(decoder: TinyVideoDecoder) -> None:
    """Against the definition: frame by frame, every block keeping what it was given."""
    memory: dict[int, Tensor] = {}
    wanted = []
    for x in latents(3, 4, 6).split(1):
        for index, layer in enumerate(decoder):
            if isinstance(layer, MemoryBlock):
                before = memory.get(index, torch.zeros_like(x))
                memory[index] = x
                x = F.relu(layer.conv(torch.cat([x, before], dim=1)) + x)
            else:
                x = layer(x)
        wanted.append(x)
    assert torch.allclose(decoder(latents(3, 4, 6)), torch.cat(wanted), atol=1e-6)


def test_tiny_decoder_takes_the_published_names() -> None:
    """The shapes of github.com/madebyollin/taesdv, written out."""
    shapes = {"1.weight": (64, 4, 3, 3), "1.bias": (64,), "19.weight": (3, 64, 3, 3), "19.bias": (3,)}
    shapes |= {f"{index}.weight": (64, 64, 3, 3) for index in (7, 12, 17)}
    for block in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        for layer, c_in in ((0, 128), (2, 64), (4, 64)):
            shapes |= {f"{block}.conv.{layer}.weight": (64, c_in, 3, 3), f"{block}.conv.{layer}.bias": (64,)}
    tensors = {f"decoder.{name}": torch.randn(shape) for name, shape in shapes.items()}
    decoder = load_tiny_decoder({**tensors, "encoder.0.weight": torch.zeros(64, 3, 3, 3)})
    assert torch.equal(decoder.state_dict()["18.conv.4.bias"], tensors["decoder.18.conv.4.bias"])
    del tensors["decoder.19.bias"]
    with pytest.raises(SVDError, match="not TAESDV"):
        load_tiny_decoder(tensors)


@pytest.mark.parametrize(
    ("frames", "height", "width", "size"), [(4, 8, 16, (64, 128)), (25, 72, 128, (120, 208)), (14, 9, 13, (72, 104))]
)
def test_tiny_decoder_makes_no_more_than_is_shown(
    decoder: TinyVideoDecoder, frames: int, height: int, width: int, size: tuple[int, int]
) -> None:
    pictures = decode_preview(decoder, latents(frames, height, width), max_size=512)
    assert pictures.shape == (frames, *size, 3)
    assert 0.0 <= float(pictures.min()) <= float(pictures.max()) <= 1.0
