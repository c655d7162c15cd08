"""Damaged checkpoints, folders, LoRAs and extensions: refused, or loaded and good for a clip."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from svd_core import SVDPipeline
from svd_core.checkpoints import open_checkpoint
from svd_core.checkpoints.inventory import unet_shapes
from tests.support.random_checkpoint import tiny_config, write_checkpoint, write_extension
from tests.support.random_lora import LAYOUTS, OTHER_KINDS, random_factors, write_lora, write_other_kind

from .conftest import Fuzz
from .mutations import ODD_VALUES, Damage, apply, byte_edits, damages, dump, join, json_edits, split
from .oracle import attempt, clean_folder, run_command

QUICK: dict[str, Any] = {"width": 16, "height": 16, "num_frames": 2, "num_inference_steps": 1}


@pytest.fixture(scope="module")
def pipe(desk: Path) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(write_checkpoint(desk / "whole.safetensors", tiny_config()))


def check_clip(pipe: SVDPipeline) -> None:
    picture = Image.linear_gradient("L").convert("RGB").resize((16, 16))
    frames = pipe(picture, output="tensor", progress=False, **QUICK)
    assert frames.shape == (2, 16, 16, 3) and frames.isfinite().all()


def load_and_run(path: Path, **options: Any) -> None:
    check_clip(SVDPipeline.from_checkpoint(path, device="cpu", **options))


@pytest.mark.parametrize("layout", ["single", "comfy"])
def test_damaged_files(fuzz: Fuzz, desk: Path, layout: str) -> None:
    whole = write_checkpoint(desk / f"{layout}.safetensors", tiny_config(), layout=layout).read_bytes()

    def check(damage: Damage) -> None:
        with clean_folder(x_safetensors=damage(whole)) as folder:
            path = folder / "x.safetensors"
            checkpoint = attempt(lambda: open_checkpoint(path))
            if checkpoint is not None and not checkpoint.missing_parts:
                attempt(lambda: load_and_run(path))
            assert run_command(["inspect", str(path)])[0] in (0, 2)

    fuzz(check, damages, cases=6, thorough_cases=500)


def test_damaged_files_are_converted_or_refused(fuzz: Fuzz, desk: Path) -> None:
    whole = write_checkpoint(desk / "convert.safetensors", tiny_config()).read_bytes()

    def check(case: tuple[Damage, str, list[str]]) -> None:
        damage, target, words = case
        with clean_folder(x_safetensors=damage(whole)) as folder:
            code, _ = run_command(["convert", str(folder / "x.safetensors"), str(folder / target), *words])
            made = folder / target
            assert made.exists() == (code == 0)
            shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)

    words = st.sampled_from(([], ["--dtype", "fp16"], ["--dtype", "bf16"], ["--dtype", "fp8"]))
    cases = st.tuples(damages, st.sampled_from(("new", "new.safetensors")), words)
    fuzz(check, cases, cases=6, thorough_cases=300)


def test_damaged_folders(fuzz: Fuzz, desk: Path) -> None:
    whole = write_checkpoint(desk / "folder", tiny_config(), layout="diffusers")
    files = sorted(path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file())
    shutil.copytree(whole, desk / "damaged")

    def check(case: tuple[str, Damage, list[Any], bool]) -> None:
        name, damage, edits, missing = case
        path = desk / "damaged" / name
        before = path.read_bytes()
        try:
            if missing:
                path.unlink()
            elif name.endswith(".json"):
                value = json.loads(before)
                for edit in edits:
                    value = edit(value)
                path.write_bytes(dump(value))
            else:
                path.write_bytes(damage(before))
            attempt(lambda: load_and_run(desk / "damaged"))
            attempt(lambda: open_checkpoint(path))
        finally:
            path.write_bytes(before)
        assert sorted(each.relative_to(whole).as_posix() for each in whole.rglob("*") if each.is_file()) == files

    mostly_not = st.sampled_from((False,) * 9 + (True,))
    fuzz(check, st.tuples(st.sampled_from(files), damages, json_edits, mostly_not), cases=6, thorough_cases=500)


@cache
def lora_file(folder: Path, kind: str) -> bytes:
    shapes = unet_shapes(tiny_config().unet)
    names = [name for name, shape in shapes.items() if len(shape) > 1 and "attn1" in name and "to_q" in name]
    path = folder / "lora.safetensors"
    if kind in OTHER_KINDS:
        return write_other_kind(path, kind, shapes, names, "kohya").read_bytes()
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.alpha_pattern": {"attn1": 4}})}
    return write_lora(path, random_factors(shapes, names), shapes, kind, 1.0, metadata).read_bytes()


def test_damaged_loras(fuzz: Fuzz, desk: Path, pipe: SVDPipeline) -> None:
    before = {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}

    def check(case: tuple[str, Damage, float]) -> None:
        kind, damage, strength = case
        with clean_folder(x_safetensors=damage(lora_file(desk, kind))) as folder:
            if attempt(lambda: pipe.load_lora(folder / "x.safetensors", strength)) is not None:
                attempt(lambda: check_clip(pipe))
            pipe.unload_lora()
        assert all(torch.equal(tensor, before[name]) for name, tensor in pipe.unet.state_dict().items())

    strengths = st.sampled_from((1.0, -1.0, 0.0, 1e38, 1e300, float("nan"), float("inf"), 10**400))
    cases = st.tuples(st.sampled_from((*LAYOUTS, *OTHER_KINDS)), damages, strengths)
    fuzz(check, cases, cases=20, thorough_cases=1500)


def test_odd_settings_of_loras(fuzz: Fuzz, desk: Path, pipe: SVDPipeline) -> None:
    """Their metadata holds JSON of its own, and patterns of names."""
    header_of = lora_file(desk, "peft")

    def check(case: tuple[str, Any]) -> None:
        name, value = case
        header, rest = split(header_of)
        header["__metadata__"] = {name: value if isinstance(value, str) else dump(value).decode()}
        with clean_folder(x_safetensors=join(header, rest)) as folder:
            if attempt(lambda: pipe.load_lora(folder / "x.safetensors")) is not None:
                attempt(lambda: check_clip(pipe))
            pipe.unload_lora()

    patterns = st.sampled_from(
        ("([a-z_0-9.]+)+X", "(" * 5000, "a{99999999999}", "attn1", ".*", "\\", "(?P<x", "x" * 9999)
    )
    keys = st.sampled_from(("alpha_pattern", "rank_pattern", "unet.alpha_pattern", "lora_alpha", "r", "unet.r", "x"))
    settings = st.dictionaries(
        keys, st.one_of(st.sampled_from(ODD_VALUES), st.dictionaries(patterns, st.sampled_from(ODD_VALUES)))
    )
    names = st.sampled_from(("lora_adapter_metadata", "ss_network_alpha", "ss_network_dim", "svd_config", "format"))
    fuzz(check, st.tuples(names, st.one_of(settings, st.sampled_from(ODD_VALUES))), cases=15, thorough_cases=700)


def test_damaged_extensions(fuzz: Fuzz, desk: Path, pipe: SVDPipeline) -> None:
    config = tiny_config()
    assert config.unet is not None
    whole = write_extension(desk / "extension.safetensors", config.unet).read_bytes()

    def check(damage: Damage) -> None:
        with clean_folder(x_safetensors=damage(whole)) as folder:
            attempt(lambda: load_and_run(desk / "whole.safetensors", extension=folder / "x.safetensors"))

    fuzz(check, damages, cases=6, thorough_cases=300)


def test_any_bytes_under_any_name(fuzz: Fuzz) -> None:
    def check(case: tuple[str, bytes, list[Any]]) -> None:
        name, content, edits = case
        with clean_folder() as folder:
            try:
                (folder / name).write_bytes(apply(edits, content))
            except (OSError, ValueError):
                return
            attempt(lambda: open_checkpoint(folder / name))
            run_command(["inspect", str(folder / name)])
            (folder / name).unlink()

    ends = st.sampled_from((".safetensors", ".ckpt", ".pt", ".bin", ".json", ".gguf", ""))
    names = st.builds(lambda stem, end: f"{stem}{end}", st.text(min_size=1, max_size=6), ends)
    starts = st.sampled_from(
        (b"", b"PK\x03\x04", b"\x80\x02", b"GGUF", b"\x02" + b"\0" * 7 + b"{}", b"<html>", b"version https://git-lfs")
    )
    fuzz(check, st.tuples(names, starts, byte_edits), cases=40, thorough_cases=700)
