"""Peak bytes of one evaluation of a network, counted while the real modules run on the "meta" device.

A full-size evaluation in small pieces is tens of thousands of operations. So loops run their first, second and last
piece, as all others are like the second, and of blocks that are alike only the first runs: the others get its record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ClipVisionConfig, UNetConfig
from ..models.alike import skip_alike
from ..models.image_encoder import ClipVision
from ..models.layers import Layers
from ..models.pieces import ALL, Pieces
from ..models.unet.evaluation import BlockInput
from ..models.unet.hooks import UNetHooks
from ..models.unet.resnet import VideoResBlock
from ..models.unet.transformer import SpatialVideoTransformer
from ..models.unet.unet import VideoUNet
from .rehearsal import AllocationCounter, peak_bytes


@dataclass(frozen=True)
class UNetCall:
    """One evaluation: `clips` in the batch (both guidance branches of a clip are two), `tokens` of context each.

    kept: clips whose deep features stay from one evaluation to the next. on_cpu: count a CPU's work space, too.
    """

    height: int  # of the latent
    width: int
    num_frames: int
    dtype: torch.dtype
    clips: int = 1
    tokens: int = 1
    kept: int = 0
    on_cpu: bool = False

    @property
    def rows(self) -> int:
        return self.clips * self.num_frames


@lru_cache(maxsize=1024)
def unet_bytes(config: UNetConfig, call: UNetCall, pieces: Pieces = ALL) -> int:
    """Peak bytes of activations, the input included and the weights not."""
    features = KeptFeatures() if call.kept else None
    unet = _build_unet(config, call)
    with torch.no_grad(), AllocationCounter() as counter, skip_alike(), _Rehearsal(unet, counter):
        evaluate_on_meta(config, call, pieces, features, _FusedAttention())
    others = max(call.kept - call.clips, 0)  # evaluated apart, but kept at the same time
    return counter.peak["meta"] + (features.nbytes * others // call.clips if features else 0)


@lru_cache(maxsize=64)
def clip_bytes(config: ClipVisionConfig, dtype: torch.dtype, pictures: int = 1) -> int:
    """Peak bytes of encoding `pictures` with the image encoder, the pixels included."""
    tower = ClipVision(config, Layers(device="meta", dtype=dtype))
    shape = pictures, 3, config.image_size, config.image_size
    return peak_bytes(lambda: tower(torch.empty(shape, dtype=dtype, device="meta")))


class KeptFeatures:
    """Deep features of one evaluation, for the next."""

    def __init__(self) -> None:
        self.h: Tensor | None = None
        self.noisy: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """With the memory that `noisy` is a view of."""
        return sum(kept.untyped_storage().nbytes() for kept in (self.h, self.noisy) if kept is not None)

    def recall(self, noisy: Tensor) -> Tensor | None:
        """(b t) c h w; None at first."""
        return self.h

    def keep(self, noisy: Tensor, h: Tensor) -> None:
        """noisy: (b t) 4 h w; h: (b t) c h w."""
        self.noisy, self.h = noisy, h


def evaluate_on_meta(
    config: UNetConfig,
    call: UNetCall,
    pieces: Pieces = ALL,
    features: KeptFeatures | None = None,
    hooks: UNetHooks | None = None,
) -> None:
    """One evaluation without data, for a counter to watch."""

    def empty(*shape: int, dtype: torch.dtype = call.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    _build_unet(config, call)(
        empty(call.rows, config.in_channels, call.height, call.width),
        empty(1, dtype=torch.float32),
        empty(call.rows, call.tokens, config.context_dim),
        empty(1, config.adm_in_channels),
        call.num_frames,
        pieces=pieces,
        features=features,
        hooks=hooks,
    )


def _build_unet(config: UNetConfig, call: UNetCall) -> VideoUNet:
    """The network on "meta". It has as many positions as the call asks for: an estimate is no place to refuse it."""
    if config.num_positions:
        config = replace(config, num_positions=max(config.num_positions, call.num_frames))
    return _build_cached(config, call.dtype, call.on_cpu)


@lru_cache(maxsize=4)
def _build_cached(config: UNetConfig, dtype: torch.dtype, on_cpu: bool) -> VideoUNet:
    return VideoUNet(config, Layers(device="meta", dtype=dtype, on_cpu=on_cpu))


@lru_cache(maxsize=4)
def _list_blocks(unet: VideoUNet) -> list[tuple[nn.Module, tuple[object, ...]]]:
    """The residual blocks and transformers, each with what is equal in those that are alike."""
    blocks = [layer for layer in unet.modules() if isinstance(layer, (VideoResBlock, SpatialVideoTransformer))]
    return [(block, (type(block), *(parameter.shape for parameter in block.parameters()))) for block in blocks]


class _FusedAttention(UNetHooks):
    """The memory of a fused kernel: the result, and the log-sum-exp of each query."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        sums = torch.empty(len(q), heads, q.shape[1], dtype=torch.float32, device=q.device)
        result = torch.empty_like(q)
        del sums
        return result


@dataclass(frozen=True)
class _Record:
    """Memory and result of a block that has run."""

    peak: int  # bytes beside those alive when it began
    result: torch.Size
    dtype: torch.dtype
    in_place: bool


class _Rehearsal:
    """Inside its `with` block, the blocks of a network take what the first one like them took."""

    def __init__(self, unet: VideoUNet, counter: AllocationCounter) -> None:
        self.blocks, self.counter = _list_blocks(unet), counter
        self.records: dict[Any, _Record] = {}

    def __enter__(self) -> None:
        for block, kind in self.blocks:
            block.forward = self._watch(block, kind)  # in place of the method, on this one module

    def __exit__(self, *_: object) -> None:
        for block, _ in self.blocks:
            del block.forward

    def _watch(self, block: nn.Module, kind: tuple[object, ...]) -> Callable[..., Tensor]:
        def forward(x: BlockInput | Tensor, call: Any, pieces: Pieces) -> Tensor:
            key = kind, x.shapes if isinstance(x, BlockInput) else x.shape, pieces
            if key in self.records:
                return self._replay(self.records[key], x)
            result, self.records[key] = self._run(block, x, call, pieces)
            return result

        return forward

    def _run(self, block: nn.Module, x: BlockInput | Tensor, call: Any, pieces: Pieces) -> tuple[Tensor, _Record]:
        peak, begin = self.counter.peak, self.counter.live["meta"]
        before, peak["meta"] = peak["meta"], begin
        result = type(block).forward(block, x, call, pieces)
        record = _Record(peak["meta"] - begin, result.shape, result.dtype, result is x)
        peak["meta"] = max(before, peak["meta"])
        return result, record

    def _replay(self, record: _Record, x: BlockInput | Tensor) -> Tensor:
        peak = self.counter.peak
        peak["meta"] = max(peak["meta"], self.counter.live["meta"] + record.peak)
        if isinstance(x, BlockInput):
            x.release()
        elif record.in_place:
            return x
        return torch.empty(record.result, dtype=record.dtype, device="meta")
