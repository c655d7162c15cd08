"""Each of our nodes can be swapped for the host's own, and the numbers stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import STAGES, Clip, Source, build, relative_error, run_and_load
from PIL import Image

from tools.client import Client
from tools.host import Host

TOLERANCE = 1e-3
CLIP = Clip()

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def ours(client: Client, host: Host, source: Source) -> Tensors:
    return run_and_load(client, host.output, build(source, CLIP, name="ours"))


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


@pytest.mark.parametrize("native", [(stage,) for stage in STAGES] + [STAGES], ids="+".join)
def test_swapped_graph_agrees(
    client: Client, host: Host, source: Source, ours: Tensors, native: tuple[str, ...]
) -> None:
    swapped = run_and_load(client, host.output, build(source, CLIP, native, name="swapped_" + "_".join(native)))
    errors = {
        name: relative_error(ours[name], swapped[name])
        for name in ("embedding", "concat_latent_image", "latent", "image")
    }
    print("native", "+".join(native), errors)
    assert max(errors.values()) <= TOLERANCE, errors


def test_native_sampler_at_another_guidance(client: Client, host: Host, source: Source) -> None:
    clip = Clip(min_cfg=2.0, max_cfg=5.0, seed=3, steps=4, frames=3)
    ours = run_and_load(client, host.output, build(source, clip, name="guided"))
    native = run_and_load(client, host.output, build(source, clip, ("sampler",), name="guided_native"))
    assert relative_error(ours["latent"], native["latent"]) <= TOLERANCE
