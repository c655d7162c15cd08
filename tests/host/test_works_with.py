"""The host's own nodes work on our MODEL as on the native one, and before SVD Sampler.

Every row has an effect, and it is the same. Our graph runs with all its work split, so that patches meet that too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from conftest import Record, source_of
from graphs import Clip, Graph, Source, described, relative_error, run_and_load
from host_nodes import LORA, OTHER, ROWS, Kind, Row, host_graph, node

from svd_core.checkpoints import unet_shapes
from svd_core.config import ModelConfig
from tests.support.random_checkpoint import small_config, tiny_config, write_checkpoint
from tests.support.random_lora import random_factors, write_lora
from tools.client import Client
from tools.host import Host

CLIP = Clip()
TOLERANCE = 2e-4  # of the latents; rounding grows from step to step, more under some nodes than others
SAME_EFFECT = 1e-3  # of their change
LEAST_EFFECT = 1e-2
ROUNDING = 1e-5  # between two runs: the host's CPU attention cuts its work by free memory
COMPILER = "cudagraphs"  # inductor compiles kernels too, which takes a CPU minutes
WINDOWS = {"context_length": 16, "context_overlap": 4, "context_schedule": "standard_static", "context_stride": 1}
WINDOWS |= {"closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False, "causal_window_fix": True}
WINDOWS |= {"cond_retain_index_list": "", "latent_retain_index_list": "", "split_conds_to_windows": False}

Latents = Callable[[Kind, Row], torch.Tensor]


def shallow_config() -> ModelConfig:
    """A UNet of two levels, with every kind of layer, between a VAE and CLIP of the usual shape."""
    return replace(small_config(), unet=tiny_config().unet)


@pytest.fixture(scope="module")
def shallow(host: Host, upload_square: Callable[..., str]) -> Source:
    shapes = unet_shapes(tiny_config().unet)
    write_lora(host.base / "models" / "loras" / LORA, random_factors(shapes), shapes, "official")
    write_checkpoint(host.checkpoints / OTHER, shallow_config(), seed=1)
    return source_of(write_checkpoint(host.checkpoints / "shallow.safetensors", shallow_config()), upload_square)


@pytest.fixture(scope="module")
def latents(client: Client, host: Host, shallow: Source) -> Latents:
    """The latents of a row's graph; each is run once."""
    known: dict[tuple[Kind, str], torch.Tensor] = {}

    def run(kind: Kind, row: Row) -> torch.Tensor:
        key = kind, row.node
        if key not in known:
            known[key] = run_and_load(client, host.output, host_graph(shallow, CLIP, kind, row, "works_with"))["latent"]
        return known[key]

    return run


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.node)
def test_a_node_of_the_host(latents: Latents, record: Record, row: Row) -> None:
    native, ours = latents("native", row), latents("model", row)
    (without,) = (other for other in ROWS if other.node == row.against)
    native_without, ours_without = (latents(kind, without) for kind in ("native", "model"))
    effect = relative_error(native, native_without)
    error = relative_error(ours, native)
    same = relative_error(ours - ours_without, native - native_without)
    sampler = None if row.svd_sampler is None else relative_error(latents("sampler", row), native)
    print(row.node, {"effect": effect, "error": error, "of the effect": same, "sampler": sampler})
    record("works_with", node=row.node, effect=effect, model=error, sampler=sampler, note=row.note)
    assert native.isfinite().all()
    assert effect > LEAST_EFFECT
    assert error <= TOLERANCE
    assert same <= SAME_EFFECT
    assert sampler is None or sampler <= TOLERANCE


def test_svd_sampler_says_that_it_keeps_its_guidance(
    client: Client, host: Host, shallow: Source, latents: Latents
) -> None:
    (rescale,) = (row for row in ROWS if row.node == "RescaleCFG")
    before = len(host.log_text())
    plain, row = latents("sampler", Row("plain")), Row("RescaleCFG", patch=rescale.guidance)
    assert relative_error(latents("sampler", row), plain) <= ROUNDING
    assert "SVD Sampler uses its own guidance" in host.log_text()[before:]


def test_context_windows(client: Client, host: Host, shallow: Source, record: Record) -> None:
    """At their default the native model fails: a window that does not start the clip gets the frame before it too.

    The conditioning still counts the frames of the window. The reference is the native model with that count put right.
    """
    clip = Clip(frames=18, steps=2)
    windows, count = node("ContextWindowsManual", **WINDOWS), node("TestCountFrames")
    counted = Row("native", lambda bench, model: count(bench, windows(bench, model)))
    row = Row("ContextWindowsManual", windows)

    def run(kind: Kind, row: Row) -> torch.Tensor:
        return run_and_load(client, host.output, host_graph(shallow, clip, kind, row, "windows"))["latent"]

    if "causal_window_fix" in str(client.get("/object_info/ContextWindowsManual")):  # ComfyUI 0.21 and newer
        failed = client.run(host_graph(shallow, clip, "native", row, "windows"))
        assert failed.error is not None and "Shape mismatch" in failed.error["exception_message"], described(failed)
    native = run("native", counted)
    effect = relative_error(native, run("native", Row("whole")))
    errors = {kind: relative_error(run(kind, row), native) for kind in ("model", "sampler")}
    print("context windows", effect, errors)
    note = "ComfyUI's own model fails at the default, causal_window_fix"
    record("works_with", node=row.node, effect=effect, **errors, note=note)
    assert effect > LEAST_EFFECT
    assert max(errors.values()) <= TOLERANCE


def test_compiled(client: Client, host: Host, shallow: Source, record: Record) -> None:
    """The whole network is one compiled graph, and the clip is the same."""
    clip = Clip(width=32, height=32, frames=2, steps=1)
    attention, compile_ = node("TestTorchAttention"), node("TorchCompileModel", backend=COMPILER)
    row = Row("TorchCompileModel", lambda bench, model: compile_(bench, attention(bench, model)))
    native = run_and_load(client, host.output, host_graph(shallow, clip, "native", Row("plain"), "eager"))["latent"]
    errors: dict[Kind, float] = {}
    for kind in ("model", "sampler"):
        prompt = host_graph(shallow, clip, kind, row, "compiled")
        (save,) = (entry for entry in prompt.values() if entry["class_type"] == "TestSaveTensors")
        Graph(prompt).add("TestCompiled", name="compiled", latent=save["inputs"]["latent"])
        errors[kind] = relative_error(run_and_load(client, host.output, prompt)["latent"], native)
        counted = json.loads((host.output / "compiled.json").read_text())
        print("compiled", kind, errors[kind], counted)
        assert counted["stats"]["unique_graphs"] == 1 and "graph_break" not in counted
    record("works_with", node=row.node, **errors, note="the whole network is one graph")
    assert max(errors.values()) <= TOLERANCE
