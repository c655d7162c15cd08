"""LoRA files with more in them than one plain adapter: several, a whole UNet, magnitudes, wrapped names, zeros."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from svd_core import SVDError
from svd_core.checkpoints import unet_shapes
from svd_core.checkpoints.lora import LoRA, LoRAStack, read_lora
from svd_core.checkpoints.names import unet_map_of
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_checkpoint import tiny_config
from tests.support.random_lora import random_factors, write_lora

CONFIG = tiny_config().unet
SHAPES = unet_shapes(CONFIG)
NAMES = unet_map_of(CONFIG)
ATTENTION = [name for name in SHAPES if ".attn1." in name and name.endswith((".to_q.weight", ".to_v.weight"))]
LAYERS = [*ATTENTION, "input_blocks.1.0.in_layers.2.weight", "input_blocks.1.0.time_stack.in_layers.2.weight"]
Tensors = dict[str, Tensor]


def peft(seed: int = 0, adapter: str = "", size: float = 0.3) -> Tensors:
    """A LoRA's tensors under the names of a UNet in the layout of diffusers."""
    word = f".{adapter}" if adapter else ""
    tensors = {}
    for weight, (down, up) in random_factors(SHAPES, LAYERS, seed=seed, size=size).items():
        path = NAMES.to_other(weight.removesuffix(".weight"))
        tensors |= {f"{path}.lora_A{word}.weight": down, f"{path}.lora_B{word}.weight": up}
    return tensors


def read(tmp_path: Path, tensors: Tensors) -> LoRA:
    path = tmp_path / "lora.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return read_lora(path, SHAPES)


def base() -> Tensors:
    generator = torch.Generator().manual_seed(9)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def changes(lora: LoRA, weights: Tensors | None = None) -> Tensors:
    weights = weights or base()
    return {name: layer.merge(weights[name], 1.0) - weights[name] for name, layer in lora.layers.items()}


def assert_equal(found: Tensors, wanted: Tensors) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("adapter", ["default", "motion-lora", "my lora (2)", "lightx2v_t1", "动作", "weight"])
def test_an_adapter_may_have_any_name(tmp_path: Path, adapter: str) -> None:
    plain = changes(read(tmp_path, peft()))
    lora = read(tmp_path, peft(adapter=adapter))
    assert not lora.unmatched and not lora.unread
    assert_equal(changes(lora), plain)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"unet._orig_mod.{name}",
        lambda name: f"_orig_mod.unet.{name}",
        lambda name: f"model.module.unet.{name}",
        lambda name: f"base_model.model._orig_mod.{name}",
        lambda name: f"state_dict.unet.{name}",
        lambda name: name.replace("attentions.0.", "attentions.0._orig_mod."),
    ],
)
def test_words_of_wrappers_are_dropped(tmp_path: Path, rename) -> None:
    plain = changes(read(tmp_path, peft()))
    lora = read(tmp_path, {rename(name): tensor for name, tensor in peft().items()})
    assert not lora.unmatched and not lora.unread
    assert_equal(changes(lora), plain)


@pytest.mark.parametrize("start", ["lora_unet__orig_mod_", "lora_unet_module_"])
def test_words_of_wrappers_in_the_names_of_kohya(tmp_path: Path, start: str) -> None:
    path = write_lora(tmp_path / "kohya.safetensors", random_factors(SHAPES, LAYERS), SHAPES, "kohya", alpha=1.0)
    plain = changes(read_lora(path, SHAPES))
    renamed = {name.replace("lora_unet_", start): tensor for name, tensor in load_file(path).items()}
    assert_equal(changes(read(tmp_path, renamed)), plain)


def test_two_adapters_add_up_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = (changes(read(tmp_path, peft(seed=seed))) for seed in (1, 2))
    lora = read(tmp_path, peft(1, "a") | peft(2, "b-2"))
    assert not lora.unmatched and not lora.unread
    found = changes(lora)
    for name in LAYERS:
        torch.testing.assert_close(found[name], one[name] + two[name])
    assert "lora.safetensors holds the adapters a, b-2; they are added up." in caplog.messages


def test_adapters_of_other_ranks_share_an_alpha(tmp_path: Path) -> None:
    weight = LAYERS[0]
    path = NAMES.to_other(weight.removesuffix(".weight"))
    tensors: Tensors = {f"{path}.alpha": torch.tensor(3.0)}
    total = torch.zeros(SHAPES[weight])
    for rank, adapter in ((2, "a"), (4, "b")):
        ((down, up),) = random_factors(SHAPES, [weight], rank=rank).values()
        tensors |= {f"{path}.lora_A.{adapter}.weight": down, f"{path}.lora_B.{adapter}.weight": up}
        total += 3.0 / rank * up @ down
    lora = read(tmp_path, tensors)
    torch.testing.assert_close(lora.layers[weight].delta(SHAPES[weight]), total)
    assert not lora.unread


def test_half_an_adapter_is_named(tmp_path: Path) -> None:
    name = NAMES.to_other(LAYERS[0].removesuffix(".weight")) + ".lora_A.b.weight"
    lora = read(tmp_path, peft(adapter="a") | {name: torch.ones(2, 32)})
    assert lora.unread == (name,)
    assert len(lora.layers) == len(LAYERS)


# --- a UNet with the adapter inside --------------------------------------------------------------------------------


def test_the_weights_of_the_model_do_not_fill_the_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = changes(read(tmp_path, peft()))
    caplog.clear()
    paths = {name.partition(".lora_")[0] for name in peft()}
    whole: Tensors = {}
    for official, tensor in base().items():
        path, _, leaf = (NAMES.to_other(official) or official).rpartition(".")
        whole[f"{path}.base_layer.{leaf}" if path in paths else f"{path}.{leaf}"] = tensor
    lora = read(tmp_path, whole | peft(adapter="default") | {"step": torch.zeros(1)})
    assert_equal(changes(lora), plain)
    assert lora.unread == ("step",)
    assert f"also holds {len(whole)} weights of the model it was trained on" in caplog.text
    assert len(caplog.messages) == 2


def test_trained_weights_beside_a_lora_are_named(tmp_path: Path) -> None:
    assert read(tmp_path, peft() | {"conv_in.weight": torch.zeros(32, 8, 3, 3)}).unread == ("conv_in.weight",)


# --- a LoRA that changes nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["lora_A", "lora_B"])
def test_a_lora_of_zeros_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture, role: str) -> None:
    zeros = {name: tensor * (role not in name) for name, tensor in peft().items()}
    read(tmp_path, zeros)
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "lora.safetensors changes nothing" in record.message
    caplog.clear()
    name = next(name for name in zeros if role in name)
    read(tmp_path, zeros | {name: peft()[name]})
    assert not caplog.messages


# --- DoRA ----------------------------------------------------------------------------------------------------------


def dora(seed: int = 3, end: str = "lora_magnitude_vector") -> Tensors:
    """As peft saves it: convolutions have their magnitudes with ones around them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = peft(seed)
    for weight in LAYERS:
        path = NAMES.to_other(weight.removesuffix(".weight"))
        rows, *rest = SHAPES[weight]
        magnitude = torch.rand(rows, generator=generator) + 0.5
        tensors[f"{path}.{end}"] = magnitude if len(rest) == 1 else magnitude.reshape(1, rows, *(1 for _ in rest[1:]))
    return tensors


def reference(weight: str, tensors: Tensors) -> Tensor:
    """m (W + B A) / |W + B A|, a row at a time (Liu et al. 2024, equation 5), alpha as large as the rank."""
    path = NAMES.to_other(weight.removesuffix(".weight"))
    old = base()[weight].double()
    product = tensors[f"{path}.lora_B.weight"].double().flatten(1) @ tensors[f"{path}.lora_A.weight"].double().flatten(
        1
    )
    changed = old + product.reshape(old.shape)
    magnitude = tensors[f"{path}.lora_magnitude_vector"].double().flatten()
    return torch.stack([m * row / row.square().sum().sqrt() for m, row in zip(magnitude, changed, strict=True)]).float()


@pytest.mark.parametrize("strength", [1.0, 0.0, 0.5])
def test_a_dora_of_peft(tmp_path: Path, strength: float) -> None:
    tensors, weights = dora(), base()
    lora = read(tmp_path, tensors)
    assert not lora.unmatched and not lora.unread
    for name, layer in lora.layers.items():
        wanted = weights[name] + strength * (reference(name, tensors) - weights[name])
        torch.testing.assert_close(layer.merge(weights[name], strength), wanted)


@pytest.mark.parametrize(
    "end", ["lora_magnitude_vector.weight", "lora_magnitude_vector.default.weight", "lora_magnitude_vector.my-lora"]
)
def test_every_spelling_of_a_dora(tmp_path: Path, end: str) -> None:
    plain = changes(read(tmp_path, dora()))
    adapter = end.split(".")[1] if end.count(".") == 2 or "my-lora" in end else ""
    word = f".{adapter}" if adapter else ""
    renamed = {}
    for name, tensor in dora().items():
        name = name.replace("lora_magnitude_vector", end)
        renamed[name.replace("lora_A.", f"lora_A{word}.").replace("lora_B.", f"lora_B{word}.")] = tensor
    assert_equal(changes(read(tmp_path, renamed)), plain)


def test_a_dora_goes_on_and_comes_off(tmp_path: Path) -> None:
    unet = VideoUNet(CONFIG, Layers(device="cpu"))
    unet.load_state_dict(base())
    stack, tensors = LoRAStack(unet), dora()
    stack.add(read(tmp_path, tensors), 1.0)
    torch.testing.assert_close(unet.get_parameter(LAYERS[0]).data, reference(LAYERS[0], tensors))
    stack.clear()
    assert all(torch.equal(unet.get_parameter(name).data, tensor) for name, tensor in base().items())


def test_two_doras_in_one_file_are_refused(tmp_path: Path) -> None:
    tensors: Tensors = {}
    for adapter in ("a", "b"):
        for name, tensor in dora().items():
            path, _, end = name.partition(".lora_")
            role = end.removesuffix(".weight")
            tensors[f"{path}.lora_{role}.{adapter}.weight"] = tensor
    with pytest.raises(SVDError, match=r"several DoRA adapters for .* \(a, b\), which do not add up"):
        read(tmp_path, tensors)


def test_magnitudes_of_another_layer_do_not_fit(tmp_path: Path) -> None:
    name = NAMES.to_other(LAYERS[0].removesuffix(".weight")) + ".lora_magnitude_vector"
    with pytest.raises(SVDError, match=r"does not fit this model.*magnitude \[5\]"):
        read(tmp_path, dora() | {name: torch.ones(5)})
