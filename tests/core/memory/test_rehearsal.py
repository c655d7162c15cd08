"""The counter counts every byte once, and only while it is held; on "meta" it runs the networks in little time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from svd_core.memory.decode.transfers import allocate_in_host_memory
from svd_core.memory.meta_shapes import run_on_meta
from svd_core.memory.rehearsal import HOST, AllocationCounter
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import tiny_config

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
        buffer = allocate_in_host_memory((256,), torch.float32, torch.device("cpu"))
        x = buffer + 1
    assert counter.live == {HOST: KB, "cpu": KB}
    assert len(x) == 256


def test_a_limit_is_that_of_the_device() -> None:
    with AllocationCounter(limit=2 * KB) as counter:
        allocate_in_host_memory((2560,), torch.float32, torch.device("cpu"))
        held = [kilobyte(), kilobyte()]
        with pytest.raises(torch.OutOfMemoryError):
            kilobyte()
        held.pop()
        held.append(kilobyte())
    assert counter.peak["cpu"] == 2 * KB


# --- on "meta" -----------------------------------------------------------------------------------------------------


class Compared(TorchDispatchMode):
    """Runs every operation by our rule and by torch, and holds the results to each other."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found, expected = (run(func, args, kwargs or {}) for run in (run_on_meta, lambda f, a, k: f(*a, **k)))
        for ours, torchs in zip(tree_leaves(found), tree_leaves(expected), strict=True):
            if isinstance(torchs, torch.Tensor):
                assert ours.shape == torchs.shape and ours.device == torchs.device, func
                assert ours.dtype == torchs.dtype or ours.numel() < 1000, func  # moments of norms are fp32 on a CPU
        return found


@pytest.mark.parametrize(
    ("dtype", "split"), [(torch.float16, None), (torch.float32, Pieces(2, 40, 100))], ids=["whole", "split"]
)
def test_rules_give_the_shapes_that_torch_gives(dtype: torch.dtype, split: Pieces | None) -> None:
    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta", dtype=dtype)

    layers = Layers(device="meta", dtype=dtype)
    unet = VideoUNet(replace(tiny_config().unet, num_positions=8), layers)
    vae, tower = Autoencoder(tiny_config().vae, layers), ClipVision(tiny_config().clip, layers)
    with torch.no_grad(), Compared():
        unet(empty(6, 8, 9, 16), empty(6).float(), empty(6, 2, 32), empty(6, 768), 3, pieces=split or ALL)
        tower(empty(1, 3, 56, 56))
        vae.encode(empty(1, 3, 32, 32))


def test_a_plan_imports_no_compiler() -> None:
    """It would take a second, in a process that has not planned yet."""
    code = """
import sys, torch
from svd_core.config import UNetConfig
from svd_core.memory.rehearsal import count_flops, peak_bytes
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
unet = VideoUNet(UNetConfig(num_res_blocks=1), Layers(device="meta", dtype=torch.float16))
shapes = (2, 8, 8, 8), (2,), (2, 1, 1024), (2, 768)
given = [torch.empty(shape, device="meta", dtype=torch.float16) for shape in shapes]
assert peak_bytes(lambda: unet(*given, 2)) and count_flops(lambda: unet(*given, 2))
assert not {"sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
