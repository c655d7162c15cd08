"""The command line beside the making of clips: help, dry runs, and the other commands."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from svd_core import load_metadata, load_video, save_video
from svd_core.checkpoints import unet_shapes
from svd_core.checkpoints.extension import extension_names
from svd_core.checkpoints.releases import DEMO_CHECKPOINT, RELEASES, Release
from svd_core.cli import main
from svd_core.cli.records import hash_file
from svd_core.config import ModelConfig, UNetConfig
from svd_core.diffusion.guidance import GUIDANCE_KINDS
from svd_core.diffusion.samplers import SAMPLERS
from svd_core.diffusion.schedules import SCHEDULES, SHORTENINGS
from svd_core.images.pictures import FIT_MODES
from svd_core.memory.device import MEMORY_CHOICES
from tests.support.official_file import inventory
from tests.support.random_checkpoint import tiny_config, write_checkpoint
from tests.support.random_lora import random_factors, write_lora
from tests.support.safetensors_files import write_hollow
from tools.comfyui import REPOSITORY

from .conftest import Animate

COMET = REPOSITORY / "example_workflows" / "svd_demo_comet.png"


@pytest.mark.parametrize("name", ["船.png", "\N{GRINNING FACE}.png", "\ud800.png", "\x9b31m.png"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "ascii"])
def test_show_prints_json_in_any_console(
    tmp_path: Path, name: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_video(np.zeros((2, 8, 8, 3), np.uint8), tmp_path / "clip.gif", metadata={"picture": name})
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding, write_through=True))
    assert main(["show", str(path)]) == 0
    assert json.loads(printed.getvalue().decode(encoding)) == {"picture": name}


def test_a_file_without_settings(desk: Path, capsys) -> None:
    assert main(["show", "pictures/0.png"]) == 2
    assert "does not say how it was made" in capsys.readouterr().err
    assert main(["show", "nowhere.mp4"]) == 2


@pytest.mark.parametrize("words", [["--help"], ["animate", "--help"], ["convert"], ["animate", "x", "--seed", "a"]])
def test_help_and_typing_errors_do_not_wait_for_torch(words: list[str]) -> None:
    script = "import sys\nfrom svd_core.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode in (0, 2)
    assert done.stdout.splitlines()[-1] == "False"


def test_help_names_what_there_is(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["animate", "--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for names in (SAMPLERS, SCHEDULES, GUIDANCE_KINDS, FIT_MODES, MEMORY_CHOICES, SHORTENINGS):
        assert all(name in text for name in names)


def test_a_dry_run_makes_nothing(animate: Animate, desk: Path, capsys) -> None:
    assert animate("pictures", "missing.png", "-o", "out", "--dry-run") == 0
    out = capsys.readouterr().out
    assert not (desk / "out").exists()
    for words in ("4, of which 3 are still to be made", "32x16, 3 frames", "sampling", "decode", "peak", "about "):
        assert words in out
    assert "cannot be   missing.mp4" in out


def test_the_plan_of_a_released_model_is_that_of_its_size(desk: Path, capsys) -> None:
    """A file of zeros that takes no disk has the names and shapes of the released one."""
    from svd_core.cli.batch import Batch
    from svd_core.cli.dry_run import describe_run
    from svd_core.cli.main import make_parser

    write_hollow("svd_xt.safetensors", inventory(ModelConfig()), torch.float16)
    words = ["animate", "pictures/0.png", "--checkpoint", "svd_xt.safetensors", "--device", "cpu", "--dtype", "fp16"]
    batch = Batch.from_options(make_parser().parse_args([*words, "--memory", "smallest"]))
    plan = "\n".join(describe_run(batch))
    assert "1024x576, 25 frames" in plan and "UNet 3.0 GB" in plan
    assert "3,742 TFLOP for sampling, 152 TFLOP for decoding" in plan
    batch = Batch.from_options(make_parser().parse_args([*words, "--speed", "balanced"]))
    assert "2,769 TFLOP for sampling" in "\n".join(describe_run(batch))


def test_the_bundled_model_is_the_default_and_says_so(desk: Path, capsys) -> None:
    assert main(["animate", str(COMET), "-o", "clip.webp", "--num-inference-steps", "1"]) == 0
    assert "the bundled demo model" in capsys.readouterr().err
    assert load_metadata("clip.webp")["checkpoint"] == DEMO_CHECKPOINT.name
    assert load_video("clip.webp").frames.shape == (14, 96, 96, 3)


def test_the_demo_needs_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from svd_core.cli import demo

    assert demo.PICTURE.read_bytes() == COMET.read_bytes()
    assert main(["demo"]) == 0
    assert load_video("svd_demo.mp4").frames.shape == (14, 96, 96, 3)


@pytest.mark.parametrize("layout", ["single", "diffusers"])
def test_inspect_a_checkpoint(desk: Path, layout: str, capsys) -> None:
    name = "svd_xt" if layout == "diffusers" else "svd_xt.safetensors"
    path = write_checkpoint(desk / name, tiny_config(), layout=layout)
    assert main(["inspect", str(path), "--hash"]) == 0
    out = capsys.readouterr().out
    assert "Stable Video Diffusion XT (25 frames)" in out and "Stability AI Community License" in out
    assert "fp16" in out and "temporal decoder" in out and "missing" not in out
    assert layout == "diffusers" or hash_file(path) in out


def test_inspect_says_what_is_a_guess(desk: Path, capsys) -> None:
    write_checkpoint(desk / "dance.safetensors", tiny_config())
    assert main(["inspect", "dance.safetensors"]) == 0
    told = capsys.readouterr()
    assert re.search(r"made for +25 frames, a guess\n", told.out)
    assert "Neither the checkpoint nor its name says how many frames" in told.out
    assert not told.err


@pytest.mark.parametrize("release", [release for release in RELEASES if release.sha256], ids=lambda each: each.name)
def test_a_hash_tells_the_release_where_no_name_does(
    desk: Path, capsys, monkeypatch: pytest.MonkeyPatch, release: Release
) -> None:
    write_checkpoint(desk / "dance.safetensors", tiny_config())
    monkeypatch.setattr("svd_core.cli.records.hash_checkpoint", lambda checkpoint: release.sha256)
    assert main(["inspect", "dance.safetensors", "--hash"]) == 0
    assert re.search(rf"official file of +{re.escape(release.title)}\n", capsys.readouterr().out)


def test_inspect_says_what_is_missing(desk: Path, capsys) -> None:
    folder = write_checkpoint(desk / "model", tiny_config(), layout="diffusers")
    shutil.rmtree(folder / "vae")
    assert main(["inspect", str(folder)]) == 0
    assert "add a companion that holds the VAE" in capsys.readouterr().out


def test_inspect_a_lora(desk: Path, capsys) -> None:
    shapes = unet_shapes(UNetConfig())
    weights = [name for name in shapes if name.endswith("1.1.time_stack.0.attn1.to_q.weight")][:2]
    write_lora(desk / "lora.safetensors", random_factors(shapes, weights), shapes, "kohya")
    assert main(["inspect", "lora.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "a LoRA of Stable Video Diffusion" in out and re.search(r"rank +2\n", out)
    assert f"{len(weights)} of {len(weights)} match, {len(weights)} of them temporal" in out


def test_inspect_an_extension(desk: Path, capsys) -> None:
    """A file of zeros with the published names and shapes."""
    config = replace(UNetConfig(), num_positions=128)
    shapes = {theirs: unet_shapes(config)[ours] for theirs, ours in extension_names(config).items()}
    write_hollow("model.fp16.safetensors", shapes, torch.float16)
    assert main(["inspect", "model.fp16.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "an ExVideo extension" in out and "528, 832,956,800 parameters, fp16" in out
    assert "up to 128 frames of 512x512" in out and "--fps 30" in out and "--max-cfg-scale 2" in out
    shapes.popitem()
    write_hollow("less.safetensors", shapes, torch.float16)
    assert main(["inspect", "less.safetensors"]) == 2
    assert "lacks 1 of the 528 tensors" in capsys.readouterr().err


def test_inspect_refuses_what_cannot_be_used(desk: Path, capsys) -> None:
    Path("model.ckpt").write_bytes(b"PK")
    assert main(["inspect", "model.ckpt"]) == 2
    assert "is a pickle" in capsys.readouterr().err


def test_convert(checkpoint: Path, desk: Path, capsys) -> None:
    assert main(["convert", str(checkpoint), "folder", "--dtype", "bf16"]) == 0
    assert main(["inspect", "folder"]) == 0
    assert "bf16" in capsys.readouterr().out
    assert main(["convert", str(checkpoint), "folder"]) == 2
    assert "already exists" in capsys.readouterr().err
