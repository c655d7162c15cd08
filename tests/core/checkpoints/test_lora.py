"""LoRA files: every naming is the same LoRA, what does not fit is said, and it comes off again without a trace."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from svd_core import SVDError, SVDPipeline
from svd_core.checkpoints import unet_shapes
from svd_core.checkpoints.lora import read_lora
from svd_core.checkpoints.lora.names import find_weight, weight_names
from svd_core.checkpoints.names import unet_map_of
from svd_core.config import UNetConfig
from svd_core.models.kernels.fp8 import FP8
from tests.support.random_checkpoint import small_config, tiny_config, write_checkpoint
from tests.support.random_lora import LAYOUTS, Factors, random_factors, write_lora

SHAPES = unet_shapes(tiny_config().unet)
QUERY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
KINDS = {
    "linear": QUERY,
    "3x3": "input_blocks.1.0.in_layers.2.weight",
    "1x1": "output_blocks.0.0.skip_connection.weight",
    "temporal convolution": "input_blocks.1.0.time_stack.in_layers.2.weight",
    "temporal attention": "input_blocks.1.1.time_stack.0.attn1.to_v.weight",
    "temporal feed-forward": "middle_block.1.time_stack.0.ff_in.net.0.proj.weight",
    "frame embedding": "output_blocks.2.1.time_pos_embed.2.weight",
    "timestep": "input_blocks.1.0.time_stack.emb_layers.1.weight",
    "downsampler": "input_blocks.2.0.op.weight",
    "upsampler": "output_blocks.1.1.conv.weight",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("lora") / "tiny.safetensors", tiny_config())


@pytest.fixture
def pipe(checkpoint: Path) -> SVDPipeline:
    return load(checkpoint)


def load(checkpoint: Path, dtype: torch.dtype = torch.float32, weight_dtype: torch.dtype | None = None) -> SVDPipeline:
    return SVDPipeline.from_checkpoint(checkpoint, device="cpu", dtype=dtype, weight_dtype=weight_dtype)


def weights_of(pipe: SVDPipeline) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in pipe.unet.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name].view(torch.uint8), b[name].view(torch.uint8)) for name in a)


def product(factors: Factors, shape: tuple[int, ...]) -> Tensor:
    """up down, written as the two layers it stands for."""
    down, up = factors
    return torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).reshape(shape)


def answer(pipe: SVDPipeline) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context, y = (torch.randn(shape, generator=generator) for shape in ((4, 8, 8, 8), (4, 1, 32), (4, 768)))
    with torch.inference_mode():
        return pipe.unet(x, torch.full((4,), 0.5), context, y, 4)


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_naming_makes_the_same_weights(pipe: SVDPipeline, tmp_path: Path, layout: str) -> None:
    """Every matrix and convolution of the network at once, so that no layer is left out of a map."""
    before, factors = weights_of(pipe), random_factors(SHAPES)
    lora = pipe.load_lora(write_lora(tmp_path / "lora.safetensors", factors, SHAPES, layout))
    assert set(lora.layers) == set(factors)
    assert not lora.unmatched and not lora.unread
    after = weights_of(pipe)
    for name, weight in before.items():
        wanted = weight + product(factors[name], weight.shape) if name in factors else weight
        torch.testing.assert_close(after[name], wanted, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
def test_no_two_layers_share_a_spelling(size: str) -> None:
    """Underscores say less than dots; at every size they still say enough."""
    config = {"full": UNetConfig(), "small": small_config().unet, "tiny": tiny_config().unet}[size]
    shapes, names = unet_shapes(config), unet_map_of(config)
    weights = weight_names(shapes)
    for weight in (name for name, shape in shapes.items() if len(shape) > 1):
        official = weight.removesuffix(".weight")
        diffusers = names.to_other(official)
        assert diffusers is not None
        for path in (official, diffusers):
            assert find_weight(path, weights) == find_weight(f"lora_unet_{path.replace('.', '_')}", weights) == weight


@pytest.mark.parametrize("weight", KINDS.values(), ids=KINDS)
def test_every_kind_of_layer_reaches_the_frames(pipe: SVDPipeline, tmp_path: Path, weight: str) -> None:
    before = answer(pipe)
    factors = random_factors(SHAPES, [weight], size=2.0)
    pipe.load_lora(write_lora(tmp_path / "lora.safetensors", factors, SHAPES, "kohya"))
    assert float((answer(pipe) - before).abs().max()) > 1e-4


def test_queries_and_keys_of_one_token_do_nothing_and_it_is_said(
    pipe: SVDPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = answer(pipe)
    inert = [name for name in SHAPES if name.endswith((".attn2.to_q.weight", ".attn2.to_k.weight"))]
    with caplog.at_level(logging.INFO):
        pipe.load_lora(write_lora(tmp_path / "l.safetensors", random_factors(SHAPES, inert), SHAPES, "peft"))
    assert torch.equal(answer(pipe), before)
    said = [record for record in caplog.records if "cross-attention" in record.message]
    assert len(said) == 1 and f"{len(inert)} of its layers" in said[0].message


# --- scale ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["peft", "diffusers", "diffusers processors", "kohya", "official"])
@pytest.mark.parametrize(("rank", "alpha", "scale"), [(4, None, 1.0), (4, 4.0, 1.0), (4, 1.0, 0.25), (1, 3.0, 3.0)])
def test_alpha_is_divided_by_the_rank(
    tmp_path: Path, layout: str, rank: int, alpha: float | None, scale: float
) -> None:
    factors = random_factors(SHAPES, [QUERY], rank)
    path = write_lora(tmp_path / "lora.safetensors", factors, SHAPES, layout, alpha)
    layer = read_lora(path, SHAPES).layers[QUERY]
    assert layer.rank == rank
    torch.testing.assert_close(layer.delta(SHAPES[QUERY]), scale * product(factors[QUERY], SHAPES[QUERY]))


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"unet.lora_alpha": 8, "unet.r": 4}, 2.0),
        ({"lora_alpha": 8}, 2.0),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 4.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 2}}, 0.5),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn2.to_q": 2}}, 2.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"^down_blocks.*": 2}}, 0.5),
        ({"text_encoder.lora_alpha": 8}, 1.0),
    ],
    ids=str,
)
def test_alpha_in_the_metadata_of_diffusers(tmp_path: Path, settings: dict, scale: float) -> None:
    factors = random_factors(SHAPES, [QUERY], rank=4)
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    path = write_lora(tmp_path / "l.safetensors", factors, SHAPES, "peft of a pipeline", metadata=metadata)
    delta = read_lora(path, SHAPES).layers[QUERY].delta(SHAPES[QUERY])
    torch.testing.assert_close(delta, scale * product(factors[QUERY], SHAPES[QUERY]))


@pytest.mark.parametrize("weight", [KINDS["3x3"], KINDS["temporal convolution"]], ids=["3x3", "temporal"])
def test_a_convolution_in_three_factors(tmp_path: Path, weight: str) -> None:
    """Against the convolutions themselves, one after the other."""
    c_out, c_in, *kernel = SHAPES[weight]
    generator = torch.Generator().manual_seed(0)
    ones = [1] * len(kernel)
    down, mid, up = (
        torch.randn(shape, generator=generator) for shape in ((3, c_in, *ones), (3, 3, *kernel), (c_out, 3, *ones))
    )
    start = "lora_unet_" + weight.removesuffix(".weight").replace(".", "_")
    ends = {"lora_down": down, "lora_mid": mid, "lora_up": up}
    save_file({f"{start}.{end}.weight": tensor for end, tensor in ends.items()}, tmp_path / "locon.safetensors")
    delta = read_lora(tmp_path / "locon.safetensors", SHAPES).layers[weight].delta(SHAPES[weight])
    convolve = torch.nn.functional.conv2d if len(kernel) == 2 else torch.nn.functional.conv3d
    x = torch.randn(1, c_in, *([5] * len(kernel)), generator=generator)
    chained = convolve(convolve(convolve(x, down), mid), up)
    torch.testing.assert_close(convolve(x, delta), chained, rtol=1e-4, atol=1e-3)


def test_strength_scales_the_change(pipe: SVDPipeline, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "lora.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "peft")
    before = weights_of(pipe)[QUERY]
    pipe.load_lora(path, -0.5)
    delta = read_lora(path, SHAPES).layers[QUERY].delta(SHAPES[QUERY])
    torch.testing.assert_close(weights_of(pipe)[QUERY], before - 0.5 * delta)
    with pytest.raises(SVDError, match="strength"):
        pipe.load_lora(path, float("nan"))


# --- on and off ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "weight_dtype"),
    [(torch.float32, None), (torch.float16, None), (torch.bfloat16, None), (torch.float32, FP8)],
    ids=str,
)
def test_loras_stack_and_come_off_exactly(
    checkpoint: Path, tmp_path: Path, dtype: torch.dtype, weight_dtype: torch.dtype | None
) -> None:
    pipe = load(checkpoint, dtype, weight_dtype)
    before = weights_of(pipe)
    factors = [random_factors(SHAPES, seed=seed) for seed in (0, 1)]
    for strength, each in zip((1.0, -0.7), factors, strict=True):
        pipe.load_lora(write_lora(tmp_path / "lora.safetensors", each, SHAPES, "official"), strength)
    after = weights_of(pipe)
    for name in factors[0]:
        shape = SHAPES[name]
        exact = before[name].float() + product(factors[0][name], shape) - 0.7 * product(factors[1][name], shape)
        assert after[name].dtype == before[name].dtype
        # Half a step of the stored type: rounded once, however many LoRAs there are.
        step = torch.finfo(after[name].dtype).eps if after[name].dtype != torch.float32 else 1e-5
        torch.testing.assert_close(after[name].float(), exact, rtol=0.51 * step, atol=1e-3 if weight_dtype else 1e-5)
    pipe.unload_lora()
    assert same(weights_of(pipe), before)
    pipe.unload_lora()
    assert same(weights_of(pipe), before)


class Wrapped(torch.nn.Module):
    """What torch.compile makes of a module, without the compiling."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self._orig_mod = module

    def forward(self, *inputs):
        return self._orig_mod(*inputs)


def test_a_unet_that_was_wrapped_takes_it(pipe: SVDPipeline, tmp_path: Path) -> None:
    """The wrapper has other names for the same weights, and computes with what they are now."""
    path, before = write_lora(tmp_path / "l.safetensors", random_factors(SHAPES), SHAPES, "kohya"), answer(pipe)
    pipe.unet = Wrapped(pipe.unet)
    pipe.load_lora(path)
    assert not torch.allclose(answer(pipe), before, atol=1e-2)
    pipe.unload_lora()
    assert torch.equal(answer(pipe), before)


def test_the_checkpoint_file_stays_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    """Weights of the file's own type are views of it."""
    content = checkpoint.read_bytes()
    pipe = load(checkpoint, torch.float16)
    pipe.load_lora(write_lora(tmp_path / "lora.safetensors", random_factors(SHAPES), SHAPES, "kohya"))
    answer_changed = weights_of(pipe)[QUERY]
    assert checkpoint.read_bytes() == content
    assert not torch.equal(weights_of(load(checkpoint, torch.float16))[QUERY], answer_changed)


def test_the_lora_file_may_change_while_it_is_in_use(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "lora.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "peft")
    layer = read_lora(path, SHAPES).layers[QUERY]
    before = layer.delta(SHAPES[QUERY])
    with path.open("r+b") as file:
        file.seek(-64, 2)
        file.write(b"\x00" * 64)
    assert torch.equal(layer.delta(SHAPES[QUERY]), before)


# --- what does not fit ---------------------------------------------------------------------------------------------


def sentence(path: Path) -> str:
    with pytest.raises(SVDError) as error:
        read_lora(path, SHAPES)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_what_does_not_match_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lora(tmp_path / "lora.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "peft")
    strange = {
        f"text_encoder.layers.{index}.lora_{end}.weight": torch.zeros(2, 2) for index in range(7) for end in "AB"
    }
    half = {"unet.mid_block.attentions.0.proj_in.lora_A.weight": torch.zeros(2, 64)}
    save_file({**load_file(path), **strange, **half, "step": torch.zeros(1)}, path)
    with caplog.at_level(logging.INFO):
        lora = read_lora(path, SHAPES)
    assert set(lora.layers) == {QUERY}
    assert len(lora.unmatched) == 8 and lora.unread == ("step",)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "matched 1 of 9 layers" in record.message
    assert "text_encoder.layers.0" in record.message and "and 4 more" in record.message
    assert "\n" not in record.message


def test_a_full_match_is_said_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lora(tmp_path / "lora.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "peft")
    with caplog.at_level(logging.INFO):
        read_lora(path, SHAPES)
    assert [(r.levelno, r.message) for r in caplog.records] == [
        (logging.INFO, "lora.safetensors: matched 1 of 1 layers.")
    ]


def test_the_same_layer_under_two_names_counts_once(tmp_path: Path) -> None:
    factors = random_factors(SHAPES, [QUERY])
    both = [load_file(write_lora(tmp_path / "l.safetensors", factors, SHAPES, each)) for each in ("kohya", "official")]
    save_file(both[0] | both[1], tmp_path / "both.safetensors")
    lora = read_lora(tmp_path / "both.safetensors", SHAPES)
    torch.testing.assert_close(lora.layers[QUERY].delta(SHAPES[QUERY]), product(factors[QUERY], SHAPES[QUERY]))
    assert len(lora.unmatched) == 1


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"transformer.blocks.0.attn.to_q.lora_A.weight": (2, 8), "b.lora_B.weight": (8, 2)}, "LoRA of another model"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (32, 8, 3, 3)}, "is not a LoRA"),
        ({"x.hada_w1_a": (2, 8)}, "is not a LoRA"),
    ],
    ids=["another model", "checkpoint", "LoHa"],
)
def test_nothing_matches(tmp_path: Path, tensors: dict[str, tuple[int, ...]], words: str) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    assert words in sentence(path)


@pytest.mark.parametrize(
    ("weight", "down", "up", "alpha"),
    [
        (QUERY, (2, 48), (32, 2), ()),
        (QUERY, (2, 32), (48, 2), ()),
        (QUERY, (2, 32), (32, 3), ()),
        (QUERY, (0, 32), (32, 0), ()),
        (QUERY, (32,), (32,), ()),
        (QUERY, (2, 32), (32, 2), (2,)),
        (KINDS["3x3"], (2, 32, 1, 1), (32, 2, 1, 1), ()),
        (KINDS["temporal convolution"], (2, 32, 3, 3), (32, 2, 1, 1), ()),
    ],
)
def test_wrong_shapes(
    tmp_path: Path, weight: str, down: tuple[int, ...], up: tuple[int, ...], alpha: tuple[int, ...]
) -> None:
    start = f"diffusion_model.{weight.removesuffix('.weight')}"
    tensors = {"lora_down.weight": torch.zeros(down), "lora_up.weight": torch.zeros(up), "alpha": torch.ones(alpha)}
    save_file({f"{start}.{end}": tensor for end, tensor in tensors.items()}, tmp_path / "lora.safetensors")
    text = sentence(tmp_path / "lora.safetensors")
    assert "lora.safetensors does not fit" in text
    assert weight in text and str(list(down)) in text and str(list(SHAPES[weight])) in text


def test_a_misfit_leaves_the_weights_as_they_are(pipe: SVDPipeline, tmp_path: Path) -> None:
    before, other = weights_of(pipe), unet_shapes(small_config().unet)
    path = write_lora(tmp_path / "other.safetensors", random_factors(other), other, "peft")
    with pytest.raises(SVDError, match=r"other\.safetensors does not fit"):
        pipe.load_lora(path)
    assert same(weights_of(pipe), before)


def test_a_dora_of_another_trainer_is_refused(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "dora.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "peft")
    save_file({**load_file(path), "base_model.model.x.dora_scale": torch.ones(32)}, path)
    assert "is a DoRA of another trainer than peft" in sentence(path)


@pytest.mark.parametrize("name", ["lora.bin", "lora.pt", "lora.safetensors"])
def test_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + b"\x00" * 100)
    assert "is a pickle" in sentence(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in sentence(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", '{"unet.lora_alpha": "much"}', '{"alpha_pattern": {"(": 1}}'])
def test_metadata_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    factors = random_factors(SHAPES, [QUERY])
    metadata = {"lora_adapter_metadata": text}
    path = write_lora(tmp_path / "lora.safetensors", factors, SHAPES, "peft", metadata=metadata)
    assert "lora_adapter_metadata" in sentence(path)
