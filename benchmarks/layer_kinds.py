"""Time by kind of layer: every operation of a run is timed by itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .timing import synchronise

CONV, TEMPORAL_CONV, LINEAR = "2-D convolution", "temporal convolution", "linear"
SPATIAL_ATTENTION, TEMPORAL_ATTENTION = "spatial attention", "temporal attention"
NORM, REST = "norms", "rest"
KINDS = (CONV, TEMPORAL_CONV, SPATIAL_ATTENTION, TEMPORAL_ATTENTION, LINEAR, NORM, REST)

# Operations as they are called, and as they are called once they have been taken apart.
_CONVOLUTION = ("convolution", "conv2d", "conv3d")
_LINEAR = ("mm", "addmm", "addmv", "linear")
_ATTENTION = ("bmm", "baddbmm", "_softmax", "softmax")
_NORM = ("native_group_norm", "native_layer_norm", "group_norm", "layer_norm", "var_mean")


def time_by_kind(way: Callable[[], Any], num_frames: int, device: torch.device) -> dict[str, float]:
    """Seconds by kind. Operations wait for each other on a GPU, so only the shares count there."""
    with _OpTimer(num_frames, device) as timer:
        way()
    return {kind: timer.seconds[kind] for kind in KINDS}


class _OpTimer(TorchDispatchMode):
    def __init__(self, num_frames: int, device: torch.device) -> None:
        super().__init__()
        self.num_frames, self.device = num_frames, device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        synchronise(self.device)
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        synchronise(self.device)
        self.seconds[self._kind(func.overloadpacket.__name__.rstrip("_"), args)] += time.perf_counter() - start
        return result

    def _kind(self, name: str, args: tuple[Any, ...]) -> str:
        if name in _CONVOLUTION:
            return _kind_of_convolution(args[1])
        if name.lstrip("_").startswith("scaled_dot_product"):
            return TEMPORAL_ATTENTION if args[1].shape[-2] == self.num_frames else SPATIAL_ATTENTION
        if name in _ATTENTION:
            return TEMPORAL_ATTENTION if args[0].shape[-1] == self.num_frames else SPATIAL_ATTENTION
        if name in _LINEAR:
            return LINEAR
        return NORM if name in _NORM else REST


def _kind_of_convolution(weight: Tensor) -> str:
    kernel = tuple(weight.shape[2:])
    if kernel[0] > 1 and all(side == 1 for side in kernel[1:]):
        return TEMPORAL_CONV
    return LINEAR if all(side == 1 for side in kernel) else CONV
