"""The UNet a piece at a time equals the UNet at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from svd_core.errors import SVDError
from svd_core.models.layers import Layers
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.unet.hooks import UNetHooks
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import DOUBLE, SMALL_UNET, randomised, relative, unet_inputs

SPLITS = (Pieces(1, 1, 1), Pieces(2, 5, 17), Pieces(3, 1000, 100), Pieces(1000, 7, 1000), Pieces(1000, 1000, 1000))
LIMIT = 5e-6


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    torch.manual_seed(0)
    return randomised(VideoUNet(SMALL_UNET, Layers(dtype=torch.float32)))


@pytest.fixture(scope="module")
def exact() -> VideoUNet:
    torch.manual_seed(0)
    return randomised(VideoUNet(SMALL_UNET, DOUBLE))


CASES: dict[str, dict[str, Any]] = {
    "one clip": {},
    "two clips": {"clips": 2, "frames": 5},
    "one frame": {"frames": 1},
    "odd sizes": {"size": (7, 9), "frames": 4},
    "several tokens": {"clips": 2, "tokens": 3},
}


def inputs(dtype: torch.dtype = torch.float32, **case: Any) -> dict[str, Any]:
    given = unet_inputs(**case)
    rows = {name: value if name == "c_noise" else value.to(dtype) for name, value in given.items()}
    return rows | {"num_frames": case.get("frames", 3)}


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_every_split_equals_the_whole(unet: VideoUNet, case: str, split: Pieces) -> None:
    given = inputs(**CASES[case])
    assert relative(unet(**given, pieces=split or ALL), unet(**given)) <= LIMIT


@pytest.mark.parametrize("case", CASES)
def test_splits_are_identities(exact: VideoUNet, case: str) -> None:
    """Without the rounding of fp32 nothing is left."""
    given = inputs(torch.float64, **CASES[case])
    assert relative(exact(**given, pieces=Pieces(2, 5, 17)), exact(**given)) < 1e-14


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_fp16_is_no_worse_for_being_split(unet: VideoUNet, split: Pieces) -> None:
    torch.manual_seed(0)
    halved = randomised(VideoUNet(SMALL_UNET)).half()
    given, half = inputs(frames=4), inputs(torch.float16, frames=4)
    truth = unet(**given)
    whole, parts = (relative(halved(**half, pieces=which or ALL).float(), truth) for which in (None, split))
    assert parts <= 1.1 * whole < 5e-3


@pytest.mark.parametrize("marked", [(1, 1, 1, 1, 1, 1), (0, 1, 0, 0, 0, 1)])
def test_lone_images(unet: VideoUNet, marked: tuple[int, ...]) -> None:
    given = inputs(clips=2) | {"image_only": torch.tensor(marked)}
    assert relative(unet(**given, pieces=Pieces(2, 5, 17)), unet(**given)) <= LIMIT


def test_another_context_for_the_temporal_layers(unet: VideoUNet) -> None:
    given = inputs(clips=2)
    given["time_context"] = torch.flip(given["context"], [0]) + 1.0
    assert relative(unet(**given, pieces=Pieces(2, 5, 17)), unet(**given)) <= LIMIT


def test_inputs_stay_as_they_were(unet: VideoUNet) -> None:
    given = inputs()
    before = {name: value.clone() for name, value in given.items() if isinstance(value, Tensor)}
    unet(**given, pieces=Pieces(1, 1, 1))
    assert all(torch.equal(given[name], value) for name, value in before.items())


class Recording(UNetHooks):
    """Notes what it is shown and changes some of it, at every place."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, *what: Any) -> None:
        self.seen.append(tuple(tuple(x.shape) if isinstance(x, Tensor) else x for x in what))

    def embedding(self, emb: Tensor) -> Tensor:
        return emb * 1.5

    def before_block(self, kind: str, index: int) -> None:
        self.note(kind, index)

    def after_input_block(self, h: Tensor) -> tuple[Tensor, Tensor]:
        self.note("input", h)
        return h * 0.9, h * 1.1

    def after_middle_block(self, h: Tensor) -> Tensor:
        self.note("middle", h)
        return h * 1.2

    def before_transformer(self, x: Tensor) -> None:
        self.note("transformer", x)

    def before_transformer_block(self, index: int) -> None:
        self.note("block", index)

    def after_transformer(self) -> None:
        self.note("after")


class Joining(Recording):
    def before_output_block(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        self.note("output", h, skip)
        return h * 0.8, skip * 1.1


class Attending(Recording):
    def self_attention(self, attn: Any, x: Tensor) -> Tensor:
        self.note("attn1", x)
        return super().self_attention(attn, x) * 1.1

    def after_self_attention(self, x: Tensor) -> Tensor:
        self.note("after attn1", x)
        return x * 0.9

    def watches_cross_attention(self) -> bool:
        return True

    def cross_attention(self, attn: Any, x: Tensor, context: Tensor) -> Tensor:
        self.note("attn2", x, context)
        return super().cross_attention(attn, x, context)


@pytest.mark.parametrize("kind", [Recording, Joining, Attending])
@pytest.mark.parametrize("case", CASES)
def test_hooks_see_the_same_and_change_the_same(unet: VideoUNet, kind: type[Recording], case: str) -> None:
    given, whole, parts = inputs(**CASES[case]), kind(), kind()
    expected = unet(**given, hooks=whole)
    assert relative(unet(**given, hooks=parts, pieces=Pieces(2, 5, 17)), expected) <= LIMIT
    assert parts.seen == whole.seen
    assert relative(unet(**given), expected) > 1e-3


def test_another_attention_function_is_handed_its_rows(unet: VideoUNet) -> None:
    class Scaled(UNetHooks):
        def attention(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
            return super().attention(1.3 * q, k, v, heads)

    given = inputs(clips=2)
    expected = unet(**given, hooks=Scaled())
    assert relative(unet(**given, hooks=Scaled(), pieces=Pieces(2, 5, 17)), expected) <= LIMIT


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, -3, 1), (1, 1, 0)])
def test_pieces_of_nothing_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(SVDError, match="at least 1"):
        Pieces(*counts)
