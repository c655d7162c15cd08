"""ExVideo's extension: the published names and shapes, what it does to a model, and files that are none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from svd_core import SVDError, SVDPipeline
from svd_core.checkpoints import open_checkpoint, unet_shapes
from svd_core.checkpoints.extension import extend, extension_names
from svd_core.config import UNetConfig
from svd_core.models.embeddings import sinusoidal_embedding
from svd_core.models.kernels.fp8 import FP8
from svd_core.models.layers import Layers
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import relative
from tests.core.pipeline.test_pipeline import PICTURE, SETTINGS
from tests.support.random_checkpoint import tiny_config, write_checkpoint, write_extension

# Of the published file, as DiffSynth 1.1.9 knows it: the md5 of its names, and of its names with their shapes, sorted.
PUBLISHED = "9a4ab6869ac9b7d6e31f9854e397c867"
PUBLISHED_BLOCKS = {7, 17, 29, 39, 51, 61, 83, 113, 123, 133, 144, 154, 164, 175, 185, 195}
PUBLISHED_PARAMETERS = 832_956_800
FULL = dataclasses.replace(UNetConfig(), num_positions=128)
POSITIONS = 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("extension") / "tiny.safetensors", tiny_config())


@pytest.fixture(scope="module")
def extension(checkpoint: Path) -> Path:
    return write_extension(checkpoint.with_name("longer.safetensors"), tiny_config().unet, POSITIONS)


def test_the_names_and_shapes_are_the_published_ones() -> None:
    shapes, names = unet_shapes(FULL), extension_names(FULL)
    assert len(names) == 528
    assert {int(name.split(".")[1]) for name in names} == PUBLISHED_BLOCKS
    assert sum(math.prod(shapes[ours]) for ours in names.values()) == PUBLISHED_PARAMETERS
    lines = [f"{theirs}:{'_'.join(map(str, shapes[ours]))}" for theirs, ours in names.items()]
    assert hashlib.md5(",".join(sorted([*names, *lines])).encode(), usedforsecurity=False).hexdigest() == PUBLISHED


def test_the_full_network_has_these_parameters() -> None:
    unet = VideoUNet(FULL, Layers(device="meta"))
    assert {name: tuple(value.shape) for name, value in unet.state_dict().items()} == unet_shapes(FULL)


def test_it_replaces_what_is_over_time_and_leaves_the_rest(checkpoint: Path, extension: Path) -> None:
    plain, extended = open_checkpoint(checkpoint), extend(open_checkpoint(checkpoint), extension)
    before, after = dict(plain.read("unet")), dict(extended.read("unet"))
    theirs = load_file(extension)
    names = extension_names(extended.unet)
    assert set(names) == set(theirs) and extended.unet.num_positions == extended.num_frames == POSITIONS
    for name, ours in names.items():
        assert torch.equal(after[ours], theirs[name]), ours
    for name in before.keys() - set(names.values()):
        assert torch.equal(after[name], before[name]), name
    assert {name for name in before if ".time_stack.0.attn" in name} <= set(names.values())
    assert not [name for name in names.values() if "time_mixer" in name or ".transformer_blocks." in name]


def test_a_table_and_a_convolution_that_do_nothing_leave_the_clip(checkpoint: Path, tmp_path: Path) -> None:
    """Sinusoids for rows and the identity for the convolution: the checkpoint's own blocks, said otherwise."""
    plain = open_checkpoint(checkpoint)
    config = dataclasses.replace(plain.unet, num_positions=POSITIONS)
    own, shapes = dict(plain.read("unet", torch.float32)), unet_shapes(config)
    tensors = {}
    for name, ours in extension_names(config).items():
        if ours.endswith("table.weight"):
            tensors[name] = sinusoidal_embedding(torch.arange(POSITIONS), shapes[ours][1])
        elif ours.endswith("conv.weight"):
            tensors[name] = torch.zeros(shapes[ours])
            tensors[name][:, :, 1, 1, 1] = torch.eye(shapes[ours][0])
        else:
            tensors[name] = torch.zeros(shapes[ours]) if ours.endswith("conv.bias") else own[ours].clone()
    save_file(tensors, tmp_path / "same.safetensors")
    same = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=tmp_path / "same.safetensors")
    known = SVDPipeline.from_checkpoint(checkpoint, device="cpu")
    settings = {**SETTINGS, "max_cfg_scale": 2.0, "output": "latent", "memory": "fastest"}
    clips = [pipe(PICTURE, **settings) for pipe in (same, known)]
    assert relative(*clips) < 1e-5


def test_longer_clips_in_any_memory(checkpoint: Path, extension: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=extension)
    settings = {**SETTINGS, "num_frames": POSITIONS, "max_cfg_scale": 2.0, "output": "latent"}
    whole = pipe(PICTURE, **settings, memory="fastest")
    assert relative(pipe(PICTURE, **settings, memory="smallest"), whole) < 5e-5
    plain = SVDPipeline.from_checkpoint(checkpoint, device="cpu")(PICTURE, **settings)
    assert relative(plain, whole) > 0.01


@pytest.mark.parametrize("split", [Pieces(1, 1, 1), Pieces(2, 7, 11)], ids=str)
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_pieces_change_nothing(split: Pieces, num_frames: int) -> None:
    config = dataclasses.replace(tiny_config().unet, num_positions=POSITIONS)
    unet, generator = VideoUNet(config).eval(), torch.Generator().manual_seed(0)
    for parameter in unet.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    shapes = (8, 6, 8), (1, 32), (768,)
    x, context, y = (torch.randn(2 * num_frames, *shape, generator=generator) for shape in shapes)
    with torch.no_grad():
        arguments = (x, torch.zeros(2 * num_frames), context, y, num_frames)
        assert relative(unet(*arguments, pieces=split or ALL), unet(*arguments)) < 5e-6


def test_weights_in_eight_bits(checkpoint: Path, extension: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=extension, weight_dtype=FP8)
    assert pipe(PICTURE, **SETTINGS, output="latent").isfinite().all()


def test_a_clip_longer_than_the_table_is_refused_before_any_work(
    checkpoint: Path, extension: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=extension)
    monkeypatch.setattr(pipe, "encode_image", lambda *_: pytest.fail("work was done"))
    with pytest.raises(SVDError, match="extended to 12 frames and 13 were asked for"):
        pipe(PICTURE, **{**SETTINGS, "num_frames": 13})


def test_defaults_are_what_it_was_made_for(checkpoint: Path, extension: Path) -> None:
    pipe = SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=extension)
    assert pipe.release is not None
    assert (pipe.release.num_frames, pipe.release.width, pipe.release.max_cfg_scale) == (128, 512, 2.0)
    clip = pipe(PICTURE, width=32, height=16, num_inference_steps=1, output="latent")
    assert len(clip) == POSITIONS  # a file may have fewer than the published one


BLOCK = 7  # of the tiny model's first transformer


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop(f"blocks.{BLOCK}.attn1.to_q.weight"), "lacks 1 of the"),
        (lambda t: t.update(more=torch.zeros(1)), "1 tensors that no ExVideo extension"),
        (lambda t: t.update({f"blocks.{BLOCK}.norm1.bias": torch.zeros(3)}), r"norm1.bias has the shape \[3\] where"),
        (lambda t: [t.pop(name) for name in list(t) if "embeddings" in name], "no trained frame positions"),
    ],
)
def test_other_files_are_refused(checkpoint: Path, extension: Path, tmp_path: Path, change, words: str) -> None:
    tensors = load_file(extension)
    change(tensors)
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(SVDError, match=words) as refused:
        SVDPipeline.from_checkpoint(checkpoint, device="cpu", extension=tmp_path / "other.safetensors")
    assert "other.safetensors" in str(refused.value)


def test_a_checkpoint_is_no_extension(checkpoint: Path) -> None:
    with pytest.raises(SVDError, match="not an ExVideo extension"):
        extend(open_checkpoint(checkpoint), checkpoint)


def test_a_model_saved_again_is_read_again(checkpoint: Path, extension: Path, tmp_path: Path) -> None:
    """As ComfyUI saves a MODEL: all of the UNet in one file."""
    extended = extend(open_checkpoint(checkpoint), extension)
    weights = {f"model.diffusion_model.{name}": value.contiguous() for name, value in extended.read("unet")}
    hidden = json.dumps({"unet": {"head_dim": 16, "norm_groups": 32}})
    save_file(weights, tmp_path / "saved.safetensors", {"svd_config": hidden})
    again = open_checkpoint(tmp_path / "saved.safetensors")
    assert again.unet == extended.unet
    assert (again.release, again.num_frames) == (extended.release, POSITIONS)
