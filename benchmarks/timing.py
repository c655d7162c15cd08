"""Timing several ways of doing the same: interleaved, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from svd_core.memory.rehearsal import AllocationCounter

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Spread:
    """Seconds of the runs of one way."""

    median: float
    fastest: float
    slowest: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        return cls(statistics.median(seconds), min(seconds), max(seconds), len(seconds))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def interleaved(ways: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, Spread]:
    """Each way `rounds` times in turn. The caller has warmed them up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way, device))
    return {name: Spread.of(each) for name, each in seconds.items()}


def timed(way: Callable[[], Any], device: torch.device) -> float:
    gc.collect()  # what earlier runs left behind
    synchronise(device)
    start = time.perf_counter()
    result = way()
    synchronise(device)
    seconds = time.perf_counter() - start
    del result
    return seconds


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """A large square product, which tells what rate of arithmetic the machine reaches; and its FLOPs."""
    side = MATRIX_SIDE.get(device.type, 4096)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b, 2 * side**3


def flops_and_peak(way: Callable[[], Any], device: torch.device) -> tuple[int, int]:
    """FLOPs and peak memory of a run.

    FLOPs: 2 x multiply-adds of matrix products, convolutions and attention. Peak: bytes beside the weights and the
    input; on a CPU without the work space of operations.
    """
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    cuda = device.type == "cuda"
    if cuda:
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if cuda else 0
    with FlopCounterMode(display=False, custom_mapping=attention) as counter, AllocationCounter() as allocations:
        way()
    synchronise(device)
    peak = torch.cuda.max_memory_allocated(device) - before if cuda else allocations.peak["cpu"]
    return counter.get_total_flops(), peak


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Scores and weighted values. q: b h n d; k, v: b h m d; all given as shapes."""
    b, h, n, d = q
    return 2 * b * h * n * k[2] * (d + v[3])


def relative_error(a: Tensor, b: Tensor) -> float:
    """‖a - b‖ / ‖b‖."""
    a, b = a.double(), b.double()
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))
