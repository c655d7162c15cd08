"""Sizes, samplers and guiders of graphs that people post: the clip that the native MODEL makes, or a sentence."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from public_process import PAIRS, SIZES

from svd_core.config import UNetConfig
from tests.support.random_checkpoint import small_config, write_checkpoint

ROUNDING = 1e-5
AMPLIFIED = 5  # times what the native MODEL makes of its picture's latents off by 1e-6
STARTS = ("denoise 0.77", "denoise 0.77, SVD Sampler", "two pictures", "one frame", "guidance falls")
GUIDERS = ("PerpNegGuider", "DualCFGGuider", "DualCFGGuider nested", "CFGZeroStar", "RescaleCFG", "BasicGuider")


@pytest.fixture(scope="module")
def report(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """With heads as wide as the released models', which the kernels are made for."""
    unet = UNetConfig(model_channels=64, channel_mult=(1, 1, 1, 2), num_res_blocks=1, context_dim=32, head_dim=64)
    config = dataclasses.replace(small_config(), unet=unet)
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("public") / "public.safetensors", config)
    script = Path(__file__).with_name("public_process.py")
    command = [sys.executable, str(script), str(comfyui), str(checkpoint), json.dumps(dataclasses.asdict(config))]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def assert_same(figures: dict[str, float]) -> None:
    assert figures["error"] <= max(ROUNDING, AMPLIFIED * figures["nudged"]), figures


@pytest.mark.parametrize("size", SIZES)
def test_sizes_that_are_multiples_of_8(report: dict[str, Any], size: str) -> None:
    print(size, report["sizes"][size])
    assert max(report["sizes"][size].values()) <= ROUNDING


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_samplers_and_schedules(report: dict[str, Any], pair: tuple[str, str]) -> None:
    print(*pair, report["samplers"][" ".join(pair)])
    assert_same(report["samplers"][" ".join(pair)])


@pytest.mark.parametrize("start", STARTS)
def test_other_starts(report: dict[str, Any], start: str) -> None:
    print(start, report["starts"][start])
    assert_same(report["starts"][start])


@pytest.mark.parametrize("guider", GUIDERS)
def test_guiders(report: dict[str, Any], guider: str) -> None:
    print(guider, report["guiders"][guider])
    assert_same(report["guiders"][guider])


@pytest.mark.parametrize(
    ("change", "asked"), [("half", "4 frames of 4x4"), ("each", "1 frames"), ("three", "3 frames")]
)
def test_samplers_for_single_images_are_named_as_the_cause(report: dict[str, Any], change: str, asked: str) -> None:
    sentence = report["askers"][change]
    assert sentence.startswith("SVDError: The sampler asked the model for ") and asked in sentence
    assert sentence.endswith("choose another sampler.")


def test_a_sampler_that_asks_for_the_clip_twice(report: dict[str, Any]) -> None:
    assert report["askers"]["twice"] <= ROUNDING


@pytest.mark.parametrize("sampler", ["KSampler", "SVD Sampler"])
def test_embeddings_of_another_encoder(report: dict[str, Any], sampler: str) -> None:
    sentence = report["askers"]["embeds"][sampler]
    assert sentence.startswith("SVDError: The conditioning holds embeddings of 99 numbers and this model takes 32")


def test_the_clip_lies_where_the_host_keeps_latents_and_a_copy_on_the_device(report: dict[str, Any]) -> None:
    assert report["device"] == {"samples": "meta", "taken": 0.0, "corrected": 0.0, "changed": 1.0}
