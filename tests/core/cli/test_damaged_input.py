"""The command line and what is damaged or oddly named: one line, an exit code, no traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from svd_core.checkpoints import unet_shapes
from svd_core.cli import main
from svd_core.config import UNetConfig
from tests.support.random_lora import random_factors, write_lora

from .conftest import Animate


def test_inspect_warns_once_of_bytes_at_the_end(checkpoint: Path, desk: Path, capsys) -> None:
    (desk / "a.safetensors").write_bytes(checkpoint.read_bytes() + bytes(16))
    assert main(["inspect", "a.safetensors"]) == 0
    assert capsys.readouterr().err.count("16 bytes after its last tensor") == 1


@pytest.mark.parametrize("words", [["inspect"], ["convert"], ["animate", "pictures", "-o", "out", "--checkpoint"]])
@pytest.mark.parametrize("name", ["x" * 5000, "missing\x1b[31m\n.safetensors", "pipe.safetensors", "loop.safetensors"])
def test_paths_that_lead_to_no_checkpoint(desk: Path, capsys, words: list[str], name: str) -> None:
    os.mkfifo(desk / "pipe.safetensors")
    (desk / "loop.safetensors").symlink_to(desk / "loop.safetensors")
    assert main([*words, name] + ["target"] * (words == ["convert"])) == 2
    error = capsys.readouterr().err
    assert error.startswith("svd-nodes: ") and error.endswith("\n")
    assert error[:-1].isprintable() and len(error) < 1100


@pytest.mark.parametrize("option", ["--lora", "--extension", "--hold", "--input-video", "-o", "--companion", None])
@pytest.mark.parametrize("name", ["x" * 5000, "y/" * 2000 + "z", "pipe.mp4", "loop"])
def test_paths_that_lead_nowhere(animate: Animate, desk: Path, capsys, option: str | None, name: str) -> None:
    os.mkfifo(desk / "pipe.mp4")
    (desk / "loop").symlink_to(desk / "loop")
    path = {"--hold": f"0={name}"}.get(option or "", name)
    words = ["pictures/0.png", option, path] if option else [name]
    code = animate(*words, *([] if option == "-o" else ["-o", "out"]))
    error = capsys.readouterr().err
    assert all(line.isprintable() and len(line) < 1100 for line in error.splitlines())
    if option == "--companion":
        assert code == 0 and "tiny.safetensors has all its parts, so the companion" in error
    else:
        assert code == 2 and error.splitlines()[-1].startswith("svd-nodes: ")


def test_inspect_prints_names_as_escapes(desk: Path, capsys) -> None:
    shapes = unet_shapes(UNetConfig())
    factors = random_factors(shapes, ["input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"])
    path = write_lora(desk / "l.safetensors", factors, shapes, "peft")
    odd = {"\x1b[31mred\nline2.lora_A.weight": torch.zeros(2, 2)}
    save_file({**load_file(path), **odd}, path, {"\x1b[31mkey\n": "value"})
    assert main(["inspect", "l.safetensors"]) == 0
    said = capsys.readouterr()
    assert r"\x1b[31mkey\n" in said.out and r"\x1b[31mred\nline2" in said.err
    assert "\x1b" not in said.out + said.err


@pytest.mark.skipif(os.name == "nt", reason="names on Windows are text")
def test_a_picture_whose_name_is_no_text(animate: Animate, desk: Path, capsys) -> None:
    """As an archive of an older Windows leaves it: its name is not UTF-8."""
    name = os.fsdecode(b"\xff.png")
    (desk / "pictures" / "0.png").rename(desk / "pictures" / name)
    assert animate(f"pictures/{name}", "-o", "out") == 0
    assert r"\udcff.mp4" in capsys.readouterr().out
    assert os.listdir(os.fsencode(desk / "out")) == [b"\xff.mp4"]
