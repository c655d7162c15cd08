"""Workflows name model files as the machine they were made on did; the same file is found, and no other one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import SMALL
from graphs import Clip, Source, build, run_and_load
from test_lora import chained

from svd_core.checkpoints import unet_shapes
from tests.support.random_checkpoint import small_config
from tests.support.random_lora import random_factors, write_lora
from tools.client import Client, HostError
from tools.comfyui import REPOSITORY
from tools.host import Host

CLIP = Clip(steps=1)
FILE = "SVD/sub_small.safetensors"
LORA = "motion/pan left.safetensors"
LISTED = [
    "svd.safetensors",
    "SVD/svd_xt.safetensors",
    "video/a.safetensors",
    "SVD/a.safetensors",
    "SVD\\win.safetensors",
]


def load() -> ModuleType:
    """By its file: ComfyUI has a module of the name `nodes` too."""
    spec = importlib.util.spec_from_file_location("file_names", REPOSITORY / "nodes" / "host" / "file_names.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("svd.safetensors", "svd.safetensors"),
        ("SVD\\svd_xt.safetensors", "SVD/svd_xt.safetensors"),
        ("svd\\SVD_XT.safetensors", "SVD/svd_xt.safetensors"),
        ("svd_xt.safetensors", "SVD/svd_xt.safetensors"),
        ("video\\svd.safetensors", "svd.safetensors"),
        ("SVD/win.safetensors", "SVD\\win.safetensors"),
        ("video\\a.safetensors", "video/a.safetensors"),
        ("a.safetensors", None),  # two
        ("other/a.safetensors", None),
        ("other/svd_xt.safetensors", None),  # another folder's file may be another one
        ("svd_xt", None),
        ("", None),
        ("SVD/", None),
        ("../svd_xt_1_1.safetensors", None),
        ("../svd.safetensors", None),  # nor does it matter that the list has one of that name
        ("..\\SVD\\svd_xt.safetensors", None),
        ("/etc/svd.safetensors", None),
        ("C:\\..\\svd.safetensors", None),
    ],
)
def test_other_spellings(name: str, wanted: str | None) -> None:
    names = load()
    assert names.match_name(name, LISTED) == wanted
    assert (name in names.FileNames(LISTED)) == (wanted is not None)


@pytest.fixture(scope="module")
def files(host: Host) -> None:
    for folder, file in (("checkpoints", FILE), ("loras", LORA)):
        (host.base / "models" / folder / file).parent.mkdir(parents=True)
    (host.checkpoints / FILE).write_bytes((host.checkpoints / SMALL).read_bytes())
    shapes = unet_shapes(small_config().unet)
    write_lora(host.base / "models" / "loras" / LORA, random_factors(shapes), shapes, "peft")


@pytest.mark.parametrize("name", [FILE, FILE.replace("/", "\\"), "sub_small.safetensors", "svd\\Sub_Small.safetensors"])
def test_a_checkpoint_in_a_subfolder(client: Client, host: Host, source: Source, files: None, name: str) -> None:
    wanted = run_and_load(client, host.output, build(source, CLIP, name="plain"))
    moved = Source(name, source.picture, source.native_loader)
    found = run_and_load(client, host.output, build(moved, CLIP, name="sub"))
    assert torch.equal(found["image"], wanted["image"])


def test_a_lora_in_a_subfolder(client: Client, host: Host, source: Source, files: None) -> None:
    clips = [
        run_and_load(client, host.output, chained(build(source, CLIP, name="lora"), ("SVD_LoRA", name, 1.0)))
        for name in (LORA, LORA.replace("/", "\\"))
    ]
    assert torch.equal(clips[0]["image"], clips[1]["image"])


def test_a_diffusers_folder_in_a_subfolder(client: Client, host: Host, files: None) -> None:
    unet = host.base / "models" / "diffusers" / "SVD" / "mine" / "unet"
    unet.mkdir(parents=True)
    (unet / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    options = client.get("/object_info/SVD_Loader")["SVD_Loader"]["input"]["required"]["checkpoint"][1]["options"]
    assert "diffusers/SVD/mine" in options
    Path(unet / "diffusion_pytorch_model.safetensors").unlink()


def test_what_is_not_there_is_refused_with_its_name(client: Client, source: Source) -> None:
    with pytest.raises(HostError) as refused:
        client.queue(build(Source("SVD\\absent.safetensors", source.picture, source.native_loader), CLIP, name="never"))
    (error,) = (error for node in refused.value.body["node_errors"].values() for error in node["errors"])
    assert error["type"] == "value_not_in_list"
    assert "absent.safetensors" in error["details"]
