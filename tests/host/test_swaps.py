"""Each of our nodes can be swapped for the host's own, and the numbers stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from conftest import Record
from graphs import STAGES, Clip, Source, build, relative_error, run_and_load
from PIL import Image

from tools.client import Client
from tools.host import Host

TOLERANCE = 1e-3
CLIP = Clip()

COMPARED = ("embedding", "concat_latent_image", "latent", "image")

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Swap:
    """One of our nodes; needs: stages that have to be ours too, for the socket between them."""

    stage: str
    node: str
    native: str
    needs: tuple[str, ...] = ()


SWAPS = (
    Swap("loader", "SVD Loader", "ImageOnlyCheckpointLoader"),
    # The native conditioning node encodes the picture itself, and takes no embedding.
    Swap("clip", "CLIP Image Encode", "CLIPVisionEncode", needs=("conditioning",)),
    Swap("conditioning", "VAE Encode Conditioning", "SVD_img2vid_Conditioning"),
    Swap("sampler", "SVD Sampler", "KSampler + VideoLinearCFGGuidance"),
    Swap("decode", "Temporal VAE Decode", "VAEDecode"),
)


@pytest.fixture(scope="module")
def ours(client: Client, host: Host, source: Source) -> Tensors:
    return run_and_load(client, host.output, build(source, CLIP, name="ours"))


@pytest.fixture(scope="module")
def theirs(client: Client, host: Host, source: Source) -> Tensors:
    return run_and_load(client, host.output, build(source, CLIP, STAGES, name="theirs"))


def test_the_clip_is_no_accident(ours: Tensors) -> None:
    """A graph that ignored its inputs would agree with itself."""
    assert ours["latent"].shape == (CLIP.frames, 4, CLIP.height // 8, CLIP.width // 8)
    assert ours["latent"].std() > 0.01
    assert ours["concat_latent_image"].std() > 0.01
    assert ours["embedding"].std() > 0.01
    assert not torch.allclose(ours["image"][0], ours["image"][-1], atol=1e-3)


@pytest.mark.parametrize(
    "change", [{"picture": "another"}, {"motion_bucket_id": 20}, {"fps": 20}, {"max_cfg": 2.7}], ids=str
)
def test_the_comparison_sees_every_input(
    client: Client, host: Host, source: Source, ours: Tensors, upload_square: Callable[..., str], change: dict[str, Any]
) -> None:
    """What a swap must not change does show in the latents when it is changed."""
    if "picture" in change:
        name = upload_square(Image.open(host.base / "input" / source.picture).width, flip=True)
        prompt = build(replace(source, picture=name), CLIP, name="changed")
    else:
        prompt = build(source, replace(CLIP, **change), name="changed")
    changed = run_and_load(client, host.output, prompt)
    error = relative_error(changed["latent"], ours["latent"])
    print("changed", change, error)
    assert error > 2 * TOLERANCE


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.stage)
def test_either_node_in_the_others_graph(
    client: Client, host: Host, source: Source, ours: Tensors, theirs: Tensors, record: Record, swap: Swap
) -> None:
    rest = tuple(stage for stage in STAGES if stage not in (swap.stage, *swap.needs))
    ours_in_theirs = run_and_load(client, host.output, build(source, CLIP, rest, name="swapped"))
    theirs_in_ours = run_and_load(client, host.output, build(source, CLIP, (swap.stage,), name="swapped"))
    errors = {"ours": worst_error(ours_in_theirs, theirs), "native": worst_error(theirs_in_ours, ours)}
    print(swap.node, errors)
    record("nodes", node=swap.node, counterpart=swap.native, **errors)
    assert max(errors.values()) <= TOLERANCE


def test_all_at_once(ours: Tensors, theirs: Tensors, record: Record) -> None:
    error = worst_error(ours, theirs)
    print("all nodes", error)
    record("nodes", node="all five", counterpart="all of them", ours=error, native=error)
    assert error <= TOLERANCE


def worst_error(swapped: Tensors, whole: Tensors) -> float:
    """Over the whole graph, from the image's embedding to the frames."""
    return max(relative_error(swapped[name], whole[name]) for name in COMPARED)


def test_native_sampler_at_another_guidance(client: Client, host: Host, source: Source) -> None:
    clip = Clip(min_cfg=2.0, max_cfg=5.0, seed=3, steps=4, frames=3)
    ours = run_and_load(client, host.output, build(source, clip, name="guided"))
    native = run_and_load(client, host.output, build(source, clip, ("sampler",), name="guided_native"))
    assert relative_error(ours["latent"], native["latent"]) <= TOLERANCE
