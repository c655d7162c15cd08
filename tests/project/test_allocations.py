"""The allocation counter counts every byte once, and only while it is held."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from svd_core.memory.decode import host_memory
from tests.support.allocations import HOST, AllocationCounter

KB = 1024


def kilobyte() -> torch.Tensor:
    return torch.zeros(256)


def test_views_count_once_and_the_freed_not_at_all() -> None:
    with AllocationCounter() as counter:
        a = kilobyte()
        view = a.view(2, 128)[1]
        b = kilobyte()
        del a, b
        assert counter.live["cpu"] == KB
        del view
        assert counter.live["cpu"] == 0
    assert counter.peak["cpu"] == 2 * KB


def test_what_was_there_before_does_not_count() -> None:
    layer, x = nn.Linear(256, 256), kilobyte()
    with AllocationCounter() as counter, torch.no_grad():
        y = layer(x)
        y += x
        x += 1
        _ = layer.weight[0]
    assert counter.peak["cpu"] == KB


def test_what_is_freed_after_the_count_is_taken_off() -> None:
    with AllocationCounter() as counter:
        kept = kilobyte()
    assert counter.live["cpu"] == KB
    del kept
    assert counter.live["cpu"] == 0


def test_host_buffers_are_told_apart() -> None:
    with AllocationCounter() as counter:
        buffer = host_memory.empty((256,), torch.float32, torch.device("cpu"))
        x = buffer + 1
    assert counter.live == {HOST: KB, "cpu": KB}
    assert len(x) == 256


def test_a_limit_is_that_of_the_device() -> None:
    with AllocationCounter(limit=2 * KB) as counter:
        host_memory.empty((2560,), torch.float32, torch.device("cpu"))
        held = [kilobyte(), kilobyte()]
        with pytest.raises(torch.OutOfMemoryError):
            kilobyte()
        held.pop()
        held.append(kilobyte())
    assert counter.peak["cpu"] == 2 * KB
