"""Names that training has wrapped: the same model bit for bit, or one sentence about what the file is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from svd_core import SVDError
from svd_core.checkpoints import open_checkpoint, read_header, unet_shapes
from svd_core.checkpoints.convert import convert_checkpoint
from svd_core.checkpoints.extension import extend
from svd_core.checkpoints.inventory import ENCODER_PREFIX, FIRST_STAGE_PREFIX, UNET_PREFIX
from svd_core.checkpoints.wrappers import drop_wrappers, unwrap_unet
from svd_core.config import UNetConfig
from tests.support.random_checkpoint import hidden_settings, tiny_config, write_checkpoint, write_extension

CONFIG = tiny_config()
METADATA = {"svd_config": json.dumps(hidden_settings(CONFIG))}
PARTS = ("unet", "vae", "clip")
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("wrappers") / "svd.safetensors", CONFIG, dtype=torch.float32)


@pytest.fixture(scope="module")
def tensors(checkpoint: Path) -> Tensors:
    return load_file(checkpoint)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(
        tmp_path_factory.mktemp("folder") / "model", CONFIG, layout="diffusers", dtype=torch.float32
    )


def weights(path: Path, companion: Path | None = None) -> dict[str, Tensors]:
    opened = open_checkpoint(path, companion)
    return {part: dict(opened.read(part)) for part in PARTS}


def assert_same(path: Path, wanted: Path, companion: Path | None = None) -> None:
    found, right = weights(path, companion), weights(wanted)
    for part in PARTS:
        assert found[part].keys() == right[part].keys()
        assert all(torch.equal(found[part][name], tensor) for name, tensor in right[part].items())


def save(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, METADATA)
    return path


def unet_of(tensors: Tensors) -> Tensors:
    return {name[len(UNET_PREFIX) :]: each for name, each in tensors.items() if name.startswith(UNET_PREFIX)}


def within_unet(word: str) -> Callable[[str], str]:
    return lambda name: name.replace(UNET_PREFIX, UNET_PREFIX + word)


WHOLE_FILES: dict[str, Callable[[str], str]] = {
    "compiled": within_unet("_orig_mod."),
    "compiled as a whole": lambda name: f"_orig_mod.{name}",
    "compiled block by block": lambda name: name.replace("input_blocks.1.", "input_blocks.1._orig_mod."),
    "DDP": lambda name: f"module.{name}",
    "DDP of the UNet": within_unet("module."),
    "DDP of a compiled one": within_unet("module._orig_mod."),
    "FSDP": within_unet("_fsdp_wrapped_module."),
    "checkpointed": lambda name: name.replace("middle_block.0.", "middle_block.0._checkpoint_wrapped_module."),
    "DeepSpeed": lambda name: f"_forward_module.{name}",
    "Lightning": lambda name: f"state_dict.{name}",
    "an attribute": lambda name: f"model.{name}",
    "another attribute": lambda name: f"pl_module.engine.{name}",
    "several": lambda name: f"state_dict.model.module._orig_mod.{name}",
}


@pytest.mark.parametrize("rename", WHOLE_FILES.values(), ids=WHOLE_FILES)
def test_a_wrapped_checkpoint_is_the_checkpoint(
    checkpoint: Path, tensors: Tensors, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    path = save(tmp_path / "svd.safetensors", {rename(name): tensor for name, tensor in tensors.items()})
    assert_same(path, checkpoint)


@pytest.mark.parametrize(
    "start", ["_orig_mod.", "module.", "unet._orig_mod.", "model.module.", "net.", "student.unet."]
)
@pytest.mark.parametrize("spelling", ["official", "diffusers"])
def test_a_wrapped_unet_alone(
    checkpoint: Path, tensors: Tensors, folder: Path, tmp_path: Path, start: str, spelling: str
) -> None:
    own = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    unet = unet_of(tensors) if spelling == "official" else own
    path = save(tmp_path / "unet.safetensors", {start + name: tensor for name, tensor in unet.items()})
    assert_same(path, checkpoint, companion=checkpoint)


def test_a_folder_with_wrapped_names(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    for file in folder.rglob("*"):
        if file.is_file():
            (path / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (path / file.relative_to(folder)).write_bytes(file.read_bytes())
    for part in path.rglob("*.safetensors"):
        save(part, {f"module.{name}": tensor for name, tensor in load_file(part).items()})
    assert_same(path, checkpoint)


def test_a_wrapped_extension(checkpoint: Path, tmp_path: Path) -> None:
    plain = write_extension(tmp_path / "plain.safetensors", CONFIG.unet, 16)
    wrapped = save(tmp_path / "w.safetensors", {f"module.{n}": t for n, t in load_file(plain).items()})
    found, wanted = (dict(extend(open_checkpoint(checkpoint), path).read("unet")) for path in (wrapped, plain))
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_name_that_is_taken_keeps_its_words() -> None:
    assert drop_wrappers({"module.a": 1, "a": 2, "module.b": 3}) == {"module.a": 1, "a": 2, "b": 3}
    assert drop_wrappers({"lora_unet__orig_mod_down_blocks_0.alpha": 1}) == {"lora_unet_down_blocks_0.alpha": 1}


def test_no_official_name_has_a_word_of_a_wrapper(tensors: Tensors) -> None:
    assert list(drop_wrappers(tensors)) == list(tensors)


# --- averages ------------------------------------------------------------------------------------------------------


def averages(tensors: Tensors, change: float = 0.0) -> Tensors:
    """As sgm's training saves them: without dots, and with its own counters."""
    named = {f"model_ema.diffusion_model{name.replace('.', '')}": each for name, each in unet_of(tensors).items()}
    counters = {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(7.0)}
    return {name: each + change for name, each in named.items()} | counters


def test_averages_beside_the_weights_are_left_out(
    checkpoint: Path, tensors: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "svd.safetensors", averages(tensors, 1.0) | tensors)
    assert_same(path, checkpoint)
    assert "svd.safetensors holds averages (EMA) beside the weights, and they are left out." in caplog.messages


@pytest.mark.parametrize("start", ["", "state_dict."])
def test_averages_alone_are_used(
    checkpoint: Path, tensors: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture, start: str
) -> None:
    others = {name: each for name, each in tensors.items() if not name.startswith(UNET_PREFIX)}
    path = save(
        tmp_path / "svd.safetensors", {start + name: each for name, each in (others | averages(tensors)).items()}
    )
    assert_same(path, checkpoint)
    assert any("averages (EMA) of the UNet's weights alone, and they are used" in text for text in caplog.messages)


def test_every_name_of_the_released_unet_gets_its_dots_back() -> None:
    names = [UNET_PREFIX + name for name in unet_shapes(UNetConfig())]
    joined = {name.replace(UNET_PREFIX, "model_ema.diffusion_model").replace(".", ""): name for name in names}
    joined = {f"model_ema.{name.removeprefix('model_ema')}": wanted for name, wanted in joined.items()}
    found, _ = unwrap_unet(joined)
    assert list(found) == list(found.values()) == names


def test_a_dotted_average_beside_the_weights(checkpoint: Path, tensors: Tensors, tmp_path: Path) -> None:
    others = {f"ema_unet.{name}": each + 1 for name, each in unet_of(tensors).items()}
    assert_same(save(tmp_path / "svd.safetensors", others | tensors), checkpoint)


def test_two_unets_are_named(tensors: Tensors, tmp_path: Path) -> None:
    both = {f"{owner}.{name}": each for owner in ("student", "teacher") for name, each in unet_of(tensors).items()}
    with pytest.raises(SVDError, match=r"is a file of 2 UNets \(under student\. and teacher\.\)"):
        open_checkpoint(save(tmp_path / "both.safetensors", both))


@pytest.fixture
def training(folder: Path, tmp_path: Path) -> Path:
    """`unet/` and `unet_ema/` as trainers leave them, the second one with other weights."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    for name, change in (("unet", 0.0), ("unet_ema", 1.0)):
        (tmp_path / "checkpoint-100" / name).mkdir(parents=True)
        part = tmp_path / "checkpoint-100" / name
        save(part / "diffusion_pytorch_model.safetensors", {key: each + change for key, each in unet.items()})
        (part / "config.json").write_bytes((folder / "unet" / "config.json").read_bytes())
    return tmp_path / "checkpoint-100"


def test_a_training_folder_takes_unet(training: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert_same(training, checkpoint, companion=checkpoint)
    assert "checkpoint-100 holds unet_ema/ beside unet/, and it is left out." in caplog.messages


def test_a_training_folder_of_averages_alone(
    training: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (training / "unet").rename(training.parent / "away")
    found = dict(open_checkpoint(training, checkpoint).read("unet"))
    right = dict(open_checkpoint(checkpoint).read("unet"))
    assert all(torch.equal(found[name], tensor + 1) for name, tensor in right.items())
    assert "checkpoint-100 holds unet_ema/ without unet/, and it is used." in caplog.messages


def test_a_unet_with_a_lora_inside_is_named(training: Path) -> None:
    file = training / "unet" / "diffusion_pytorch_model.safetensors"
    query = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    unet = load_file(file)
    unet[f"{query}.base_layer.weight"] = unet.pop(f"{query}.weight")
    unet |= {f"{query}.lora_A.default.weight": torch.ones(2, 32), f"{query}.lora_B.default.weight": torch.ones(32, 2)}
    save(file, unet)
    for path in (file, training):
        with pytest.raises(SVDError, match=r"is a UNet with a LoRA inside.*add this file with a LoRA loader"):
            open_checkpoint(path)


# --- the second encoder --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (lambda _: False, "lacks the second encoder"),
        (lambda name: name.startswith("quant_conv."), "has only 2 tensors of the second encoder"),
        (lambda name: not name.startswith("quant_conv."), "tensors of the second encoder"),
    ],
    ids=["none", "only quant_conv", "all but quant_conv"],
)
def test_another_encoder_than_the_second_is_told(
    checkpoint: Path,
    tensors: Tensors,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kept: Callable[[str], bool],
    words: str,
) -> None:
    others = {name: each for name, each in tensors.items() if not name.startswith(ENCODER_PREFIX)}
    copy = {name: each for name, each in tensors.items() if name.startswith(ENCODER_PREFIX)}
    copy = {name: each for name, each in copy.items() if kept(name.removeprefix(ENCODER_PREFIX))}
    found = weights(save(tmp_path / "svd.safetensors", others | copy))
    wanted = weights(save(tmp_path / "first.safetensors", others))
    assert all(torch.equal(found["vae"][name], tensor) for name, tensor in wanted["vae"].items())
    assert any(words in text and "that of first_stage_model encodes" in text for text in caplog.messages)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("decoder.", "is incomplete or belongs to another model (decoder.conv_in.weight is missing)"),
        ("encoder.", "is incomplete or belongs to another model (encoder.conv_in.weight is missing)"),
    ],
)
def test_half_a_vae_is_not_said_to_be_none(folder: Path, tmp_path: Path, start: str, words: str) -> None:
    path = without(folder, tmp_path, "vae", start)
    with pytest.raises(SVDError, match=re.escape(f"The VAE of model {words}")):
        open_checkpoint(path)


def test_a_vae_without_its_quant_conv_is_told(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_checkpoint(folder)
    assert not any("quant_conv" in text for text in caplog.messages)
    open_checkpoint(without(folder, tmp_path, "vae", "quant_conv."))
    assert "model lacks the quant_conv behind its encoder, and is taken to need none." in caplog.messages


@pytest.mark.parametrize(("name", "said"), [("svd_xt", True), ("svd_xt_image_decoder", False)])
def test_a_decoder_for_images_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, said: bool) -> None:
    write_checkpoint(tmp_path / f"{name}.safetensors", tiny_config(image_decoder=True))
    checkpoint = open_checkpoint(tmp_path / f"{name}.safetensors")
    assert checkpoint.release is not None and checkpoint.release.name == "svd_xt_image_decoder"
    assert any("has the decoder for single images" in text for text in caplog.messages) == said


def without(folder: Path, tmp_path: Path, part: str, start: str) -> Path:
    """A copy of a diffusers folder whose part lacks the tensors that begin so."""
    shutil.copytree(folder, tmp_path / "model")
    (file,) = (tmp_path / "model" / part).glob("*.safetensors")
    save_file({name: each for name, each in load_file(file).items() if not name.startswith(start)}, file)
    return tmp_path / "model"


def test_a_converted_checkpoint_has_plain_names(checkpoint: Path, tensors: Tensors, tmp_path: Path) -> None:
    path = save(tmp_path / "w.safetensors", {f"module.model.{name}": each for name, each in tensors.items()})
    convert_checkpoint(path, tmp_path / "single.safetensors")
    assert_same(tmp_path / "single.safetensors", checkpoint)
    convert_checkpoint(path, tmp_path / "half.safetensors", dtype=torch.float16)
    convert_checkpoint(checkpoint, tmp_path / "plain_half.safetensors", dtype=torch.float16)
    assert_same(tmp_path / "half.safetensors", tmp_path / "plain_half.safetensors")


def test_the_first_encoder_may_be_missing(
    checkpoint: Path, tensors: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starts = tuple(FIRST_STAGE_PREFIX + half for half in ("encoder.", "quant_conv."))
    path = save(tmp_path / "svd.safetensors", {n: each for n, each in tensors.items() if not n.startswith(starts)})
    assert_same(path, checkpoint)
    assert not any("encoder" in text for text in caplog.messages)


def test_the_header_knows_both_names(tensors: Tensors, tmp_path: Path) -> None:
    path = save(tmp_path / "w.safetensors", {f"module.{name}": each for name, each in tensors.items()})
    header = read_header(path)
    assert set(header.tensors) == set(tensors)
    assert all(ref.name == f"module.{name}" for name, ref in header.tensors.items())
