"""Conversion of checkpoints: no bit changes on the way and back, nothing is half written, memory stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from svd_core.checkpoints import open_checkpoint
from svd_core.checkpoints.convert import convert_checkpoint
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.checkpoints.write import write_entries
from svd_core.config import AutoencoderConfig, ModelConfig
from svd_core.errors import SVDError
from tests.core.video.test_video_formats import full_disk
from tests.support.official_file import inventory
from tests.support.random_checkpoint import tiny_config, write_checkpoint
from tests.support.safetensors_files import write_hollow

ROOT = Path(__file__).parents[3]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
LAYOUTS = ("single", "comfy", "diffusers")
DROPPED = ("conditioner.embedders.0.open_clip.model.", "conditioner.embedders.3.encoder.")  # where not read


def source_of(folder: Path, layout: str, dtype: torch.dtype = torch.float16, image_decoder: bool = False) -> Path:
    name = "folder" if layout == "diffusers" else f"{layout}.safetensors"
    return write_checkpoint(folder / name, tiny_config(image_decoder), layout=layout, dtype=dtype)


def parameters(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = open_checkpoint(path)
    parts = ("unet", "vae", "clip")
    return {f"{part}.{name}": tensor for part in parts for name, tensor in checkpoint.read(part)}


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """All that is stored, by name; of a folder, by part and name."""
    if path.is_file():
        return load_file(path)
    files = sorted(path.rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("image_decoder", [False, True], ids=["temporal", "image"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_is_equal_bit_by_bit(
    tmp_path: Path, layout: str, dtype: torch.dtype, image_decoder: bool
) -> None:
    source = source_of(tmp_path, layout, dtype, image_decoder)
    to = ("there", "back.safetensors") if layout != "diffusers" else ("there.safetensors", "back")
    there = convert_checkpoint(source, tmp_path / to[0])
    back = convert_checkpoint(there, tmp_path / to[1])
    assert open_checkpoint(back).config == open_checkpoint(there).config == open_checkpoint(source).config
    assert_equal(parameters(there), parameters(source))
    assert_equal(parameters(back), parameters(source))
    if layout == "single":
        stored, returned = tensors(source), tensors(back)
        left_out = set(stored) - set(returned)
        assert_equal(returned, {name: stored[name] for name in returned})
        assert left_out and all(name.startswith(DROPPED) for name in left_out)
    if layout == "diffusers":
        assert_equal(tensors(back), tensors(source))


@pytest.mark.parametrize("layout", ["single", "comfy"])
def test_the_folder_is_the_one_that_diffusers_reads(tmp_path: Path, layout: str) -> None:
    """The test models are written in every layout from the same weights; parity tests load that folder in diffusers."""
    wanted, found = source_of(tmp_path, "diffusers"), convert_checkpoint(source_of(tmp_path, layout), tmp_path / "out")
    expected, made = tensors(wanted), tensors(found)
    if layout == "comfy":  # quant_conv is merged there; the folder gets one that changes nothing
        assert torch.equal(made["vae/quant_conv.weight"][:, :, 0, 0], torch.eye(8).half())
        apart = [name for name in expected if "quant_conv" in name or "encoder.conv_out" in name]
        expected, made = ({k: v for k, v in each.items() if k not in apart} for each in (expected, made))
    assert_equal(made, expected)
    files = sorted(file.relative_to(wanted) for file in wanted.rglob("*.json"))
    assert files == sorted(file.relative_to(found) for file in found.rglob("*.json")) and len(files) == 6
    for file in files:
        assert json.loads((found / file).read_text()) == json.loads((wanted / file).read_text())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_type_keeps_every_tensor(tmp_path: Path, layout: str) -> None:
    source = source_of(tmp_path, layout, torch.float32)
    target = tmp_path / ("fp16" if layout == "diffusers" else "fp16.safetensors")
    assert_equal(
        tensors(convert_checkpoint(source, target, torch.float16)),
        {name: tensor.half() for name, tensor in tensors(source).items()},
    )
    again = convert_checkpoint(target, target.with_name("again" + target.suffix))
    assert_equal(tensors(again), tensors(target))
    if layout == "diffusers":
        names = [file.relative_to(source) for file in source.rglob("*.json")]
        assert all((target / name).read_text() == (source / name).read_text() for name in names)


def test_type_and_layout_at_once(tmp_path: Path) -> None:
    source = source_of(tmp_path, "single", torch.float32)
    target = convert_checkpoint(source, tmp_path / "bf16", torch.bfloat16)
    wanted = parameters(source)
    for name, tensor in parameters(target).items():
        assert tensor.dtype == torch.bfloat16
        torch.testing.assert_close(tensor.float(), wanted[name], rtol=1e-2, atol=1e-2)


def test_a_file_of_several_types(tmp_path: Path) -> None:
    """Eight bits beside sixteen and thirty-two, an odd number of each, so that order decides where a tensor starts."""
    source = source_of(tmp_path, "single", torch.float32)
    stored = load_file(source)
    stored["model.diffusion_model.out.2.bias"] = torch.ones(4).to(torch.float8_e4m3fn)
    stored["model.diffusion_model.input_blocks.1.0.time_mixer.mix_factor"] = torch.ones(1).half()
    stored["conditioner.embedders.0.open_clip.model.logit_scale"] = torch.tensor(4.6)
    save_file(stored, source, {"svd_config": open_metadata(source)})
    assert_equal(tensors(convert_checkpoint(source, tmp_path / "same.safetensors")), stored)
    half = tensors(convert_checkpoint(source, tmp_path / "fp16.safetensors", torch.float16))
    assert_equal(half, {name: tensor.half() for name, tensor in stored.items()})


def test_the_trained_length_goes_along(tmp_path: Path) -> None:
    """It stands in the settings of a folder, and shapes do not show it."""
    source = source_of(tmp_path, "diffusers")
    config = source / "unet" / "config.json"
    config.write_text(config.read_text().replace('"num_frames": 25', '"num_frames": 14'))
    single = convert_checkpoint(source, tmp_path / "my_model.safetensors")
    assert open_checkpoint(single).num_frames == 14
    folder = convert_checkpoint(single, tmp_path / "my_folder")
    assert json.loads((folder / "unet" / "config.json").read_text())["num_frames"] == 14


def test_a_unet_alone_stays_alone_or_takes_a_companion(tmp_path: Path) -> None:
    source = source_of(tmp_path, "diffusers")
    unet = tmp_path / "unet.safetensors"
    settings = json.dumps({"unet": {"head_dim": 16}})
    save_file(load_file(source / "unet" / "diffusion_pytorch_model.safetensors"), unet, {"svd_config": settings})
    alone = convert_checkpoint(unet, tmp_path / "alone.safetensors")
    assert all(name.startswith("model.diffusion_model.") for name in tensors(alone))
    folder = convert_checkpoint(unet, tmp_path / "alone")
    assert sorted(os.listdir(folder)) == ["unet"]
    whole = convert_checkpoint(unet, tmp_path / "whole.safetensors", companion=source)
    assert_equal(parameters(whole), parameters(source))


def test_the_bundled_model_goes_into_another_type(tmp_path: Path) -> None:
    target = convert_checkpoint(DEMO_CHECKPOINT, tmp_path / "svd_demo_bf16.safetensors", torch.bfloat16)
    assert open_checkpoint(target).config == open_checkpoint(DEMO_CHECKPOINT).config
    assert open_checkpoint(target).release == open_checkpoint(DEMO_CHECKPOINT).release


# What cannot be


def test_what_diffusers_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SVDError, match="norm_groups 8, and the diffusers layout allows only 32"):
        convert_checkpoint(DEMO_CHECKPOINT, tmp_path / "demo")
    assert os.listdir(tmp_path) == []


def test_values_that_a_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "single", torch.float32)
    stored = load_file(source)
    metadata = {"svd_config": open_metadata(source)}
    stored["model.diffusion_model.out.2.weight"][0, 0, 0, 0] = 1e6
    save_file(stored, source, metadata)
    with pytest.raises(SVDError, match=r"model\.diffusion_model\.out\.2\.weight has values that float16 cannot hold"):
        convert_checkpoint(source, tmp_path / "fp16.safetensors", torch.float16)
    assert os.listdir(tmp_path) == [source.name]


def open_metadata(path: Path) -> str:
    from svd_core.checkpoints import read_header

    return read_header(path).metadata["svd_config"]


@pytest.mark.parametrize("target", ["new.safetensors", "new"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, target: str) -> None:
    source = source_of(tmp_path, "single")
    with full_disk(100_000), pytest.raises(SVDError, match="cannot be written"):
        convert_checkpoint(source, tmp_path / target)
    assert os.listdir(tmp_path) == [source.name]


def test_too_little_space_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path, "single")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("svd_core.checkpoints.convert.convert.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SVDError, match="are free there"):
        convert_checkpoint(source, tmp_path / "new.safetensors")
    assert os.listdir(tmp_path) == [source.name]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    source = source_of(tmp_path, "single")
    for name in ("there.safetensors", "folder/file.txt", "weights.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for target, words in (("there.safetensors", "already exists"), ("folder", "already exists")):
        with pytest.raises(SVDError, match=words):
            convert_checkpoint(source, tmp_path / target)
    with pytest.raises(SVDError, match="would be a pickle"):
        convert_checkpoint(source, tmp_path / "weights.ckpt", overwrite=True)
    with pytest.raises(SVDError, match="already exists"):
        convert_checkpoint(source, source)
    assert (tmp_path / "there.safetensors").read_text() == "mine"
    convert_checkpoint(source, tmp_path / "there.safetensors", overwrite=True)
    before = tensors(source)
    convert_checkpoint(source, source, overwrite=True)
    assert_equal(tensors(source), before)


def test_what_comes_in_the_meantime_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_beside(*arguments: Any) -> None:
        (tmp_path / "new.safetensors").write_text("mine")
        write_entries(*arguments)

    source = source_of(tmp_path, "single")
    monkeypatch.setattr("svd_core.checkpoints.convert.convert.write_entries", write_beside)
    with pytest.raises(SVDError, match="already exists"):
        convert_checkpoint(source, tmp_path / "new.safetensors")
    assert (tmp_path / "new.safetensors").read_text() == "mine" and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("target", ["missing/new", "n" * 300, "n" * 300 + ".safetensors", "source/new", "a\0b"])
def test_a_place_that_cannot_be_is_told_before_the_source_is_read(tmp_path: Path, target: str) -> None:
    (tmp_path / "source").touch()
    with pytest.raises(SVDError, match=r"make it first|shorter name|no name for a file"):
        convert_checkpoint(tmp_path / "source", tmp_path / target)


# Memory

MEASURE = """
import sys
import torch
from svd_core.checkpoints.convert import convert_checkpoint

torch.set_num_threads(1)
torch.ones(2 ** 22).half().sum()  # the libraries' own buffers

def kilobytes(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the peak so far
before = kilobytes("VmRSS")
convert_checkpoint(sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3], None))
print(kilobytes("VmHWM") - before)
"""


def peak_megabytes(source: Path, target: Path, dtype: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(target), dtype],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024 / 1e6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of peak memory")
@pytest.mark.parametrize(("target", "dtype"), [("new", "None"), ("new.safetensors", "float16")])
def test_memory_stays_small(tmp_path: Path, target: str, dtype: str) -> None:
    """A fifth of the file: the largest tensor, and the pages that are read between two releases."""
    config = ModelConfig(tiny_config().unet, AutoencoderConfig(), None)
    source = tmp_path / "hollow.safetensors"
    metadata = {"svd_config": json.dumps({"unet": {"head_dim": 16}})}
    write_hollow(source, inventory(config), torch.float32, metadata)
    assert source.stat().st_size > 550e6
    assert peak_megabytes(source, tmp_path / target, dtype) < 120


@pytest.mark.full_size
@pytest.mark.parametrize(("target", "dtype"), [("new", "float16"), ("new.safetensors", "float16")])
def test_memory_stays_small_at_full_size(tmp_path: Path, target: str, dtype: str) -> None:
    """All 2446 tensors of the released file, which take no disk here; 4.8 GB are written."""
    source = tmp_path / "svd_xt.safetensors"
    write_hollow(source, inventory(ModelConfig()), torch.float32)
    assert source.stat().st_size > 9.5e9
    assert peak_megabytes(source, tmp_path / target, dtype) < 500
