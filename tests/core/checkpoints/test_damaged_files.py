"""Files with all their tensors load, whatever else is odd about them; damage has one true sentence, at once."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from svd_core import SVDError, SVDPipeline
from svd_core.checkpoints import header, open_checkpoint, read_header, unet_shapes
from svd_core.checkpoints.convert import convert_checkpoint
from svd_core.checkpoints.infer import INFER
from svd_core.checkpoints.inventory import CLIP_PREFIX
from svd_core.checkpoints.lora import read_lora
from svd_core.checkpoints.lora.alpha import Pattern
from svd_core.checkpoints.names import unet_map_for_names, vae_map_for_names
from svd_core.checkpoints.stream import SafetensorsFile
from tests.support.random_checkpoint import hidden_settings, tiny_config, write_checkpoint
from tests.support.random_lora import random_factors, write_lora

CONFIG = tiny_config()
SHAPES = unet_shapes(CONFIG.unet)
QUERY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
UNET = "model.diffusion_model."
PARTS: dict = {}
F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("good") / "good.safetensors", CONFIG)


@pytest.fixture
def folder(tmp_path_factory, tmp_path) -> Path:
    return write_checkpoint(tmp_path / "model", CONFIG, layout="diffusers")


def with_header(path: Path, head: object, data: bytes = bytes(16)) -> Path:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def sentence(path: Path, read=read_header, *arguments) -> str:
    with pytest.raises(SVDError) as caught:
        read(path, *arguments)
    text = str(caught.value)
    assert text.isprintable() and text.endswith(".") and len(text) <= 1000
    return text


def save_changed(good: Path, path: Path, changed: dict[str, Tensor]) -> Path:
    save_file(load_file(good) | changed, path, {"svd_config": json.dumps(hidden_settings(CONFIG))})
    return path


# --- bytes that belong to no tensor ------------------------------------------------------------------------------


def test_bytes_after_the_last_tensor_are_left_out_with_one_warning(good, tmp_path, caplog):
    path = tmp_path / "a.safetensors"
    path.write_bytes(good.read_bytes() + b"more")
    checkpoint = open_checkpoint(path)
    for part in ("unet", "vae", "clip"):
        same = dict(open_checkpoint(good).read(part))
        for name, tensor in checkpoint.read(part):
            assert torch.equal(tensor, same[name])
    said = [record.getMessage() for record in caplog.records if record.name.endswith(".header")]
    assert said == [
        "a.safetensors has 4 bytes after its last tensor, which are left out; svd-nodes convert writes the file "
        "without them."
    ]
    mended = convert_checkpoint(path, tmp_path / "b.safetensors")
    assert read_header(mended).spare_bytes == 0
    assert load_file(mended).keys() == load_file(good).keys()  # the library refuses the file before


def test_bytes_after_the_last_tensor_of_a_lora(tmp_path, caplog):
    path = write_lora(tmp_path / "l.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "peft")
    with path.open("ab") as file:
        file.write(bytes(16))
    assert list(read_lora(path, SHAPES).layers) == [QUERY]
    assert len([record for record in caplog.records if "16 bytes after" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 4], [8, 12], "4 bytes between a and b belong to no tensor"),
        ([4, 8], [8, 12], "4 bytes between the beginning and a belong to no tensor"),
        ([0, 4], [2, 6], "a and b share 2 bytes"),
        ([0, 4], [0, 4], "a and b share 4 bytes"),
    ],
)
def test_holes_and_overlaps(tmp_path, a, b, expected):
    head = {"a": {**F32, "data_offsets": a}, "b": {**F32, "data_offsets": b}}
    assert expected in sentence(with_header(tmp_path / "x.safetensors", head, bytes(12)))


def test_what_the_library_refuses_and_nothing_is_wrong_with(tmp_path):
    """Odd metadata, an empty tensor anywhere, a header of odd length: the tensors are all there."""
    head = {"__metadata__": {"n": 3, "deep": {"a": [1]}}, "a": F32, "e": {**F32, "shape": [0], "data_offsets": [9, 9]}}
    text = json.dumps(head).encode()
    values = torch.tensor([1.5]).numpy().tobytes()
    path = with_header(tmp_path / "x.safetensors", text + b" " * (1 - len(text) % 2), values)
    tensors = SafetensorsFile(path)
    assert tensors["a"].tolist() == [1.5] and tensors["e"].shape == (0,)
    assert read_header(path).metadata["n"] == "3"


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'{"a":{"dtype":"F16","shape":[Infinity],"data_offsets":[0,0]}}', "Infinity for a number"),
        (b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,%s]}}' % (b"9" * 5000), "a number of 5000 digits"),
        (b'{"a":{"dtype":"F16","shape":[1e400],"data_offsets":[0,2]}}', "1e400, which is too large"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":1,"a":2}', "the name a is in it twice"),
        ({"a": {**F32, "shape": [1.5]}}, "its entry for a is unreadable"),
        ({"a": {**F32, "shape": [True]}}, "its entry for a is unreadable"),
        ({"a": {**F32, "shape": "1"}}, "its entry for a is unreadable"),
        ({"a": {**F32, "dtype": []}}, "its entry for a is unreadable"),
        ({"a": {**F32, "data_offsets": [-4, 0]}}, "the size of a does not fit"),
        ({"a": {**F32, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, "the size of a does not fit"),
        ({"a": {**F32, "shape": [2**62, 4], "data_offsets": [0, 0]}}, "the size of a does not fit"),
        ({"a" * 5000: F32}, "is unreadable"),
        ({"\x1b[31mred\nline2": {**F32, "dtype": "F4"}}, r"\x1b[31mred\nline2 as F4"),
        ({"\ud800": {**F32, "shape": [7]}}, r"the size of \ud800 does not fit"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_headers_with_odd_numbers_and_names(tmp_path, head, expected):
    assert expected in sentence(with_header(tmp_path / "x.safetensors", head))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"unet": {"head_dim": Infinity}}', '{"unet": {"resnet_eps": 1e400}}'])
def test_settings_with_odd_numbers(good, tmp_path, text):
    save_file(load_file(good), tmp_path / "x.safetensors", {"svd_config": text})
    assert "unreadable svd_config settings" in sentence(tmp_path / "x.safetensors", open_checkpoint)


@pytest.mark.parametrize("text", ["9" * 5000, "0", "-1", "²"])
def test_a_trained_length_that_is_none(good, tmp_path, text):
    metadata = {"svd_config": json.dumps(hidden_settings(CONFIG)), "svd_num_frames": text}
    save_file(load_file(good), tmp_path / "x.safetensors", metadata)
    assert open_checkpoint(tmp_path / "x.safetensors").num_frames is None


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("unet/config.json", "[" * 100_000, r"unet/config\.json is unreadable \(it is nested too deeply\)"),
        ("vae/config.json", '{"scaling_factor": NaN}', r"vae/config\.json is unreadable \(it has NaN"),
        ("image_encoder/config.json", '{"layer_norm_eps": 1%s}' % ("0" * 400), "a number of 401 digits"),
        ("unet/config.json", '{"block_out_channels": [1e300, 1], "num_attention_heads": [1e-9, 1]}', "unet"),
        ("vae/config.json", '{"scaling_factor": -1}', r"vae\.scale_factor is -1, which does not fit"),
        ("vae/config.json", '{"scaling_factor": 1e30}', r"vae\.scale_factor is 1e\+30, which does not fit"),
        ("image_encoder/config.json", '{"layer_norm_eps": 1e300}', r"norm_eps is 1e\+300, which does not fit"),
        ("vae/config.json", '{"scaling_factor": [1]}', r"vae\.scale_factor is \[1\], which does not fit"),
        ("unet/diffusion_pytorch_model.safetensors.index.json", '{"weight_map": {"a": [1]}}', "is corrupt"),
        ("unet/diffusion_pytorch_model.safetensors.index.json", '{"weight_map": {"a": 1, "b": "c"}}', "is corrupt"),
        ("unet/diffusion_pytorch_model.safetensors.index.json", '{"weight_map": {"a": ".."}}', "is missing"),
        (
            "unet/diffusion_pytorch_model.safetensors.index.json",
            json.dumps({"weight_map": {"a": "x" * 5000 + "\0"}}),
            "is missing",
        ),
    ],
)  # fmt: skip
def test_folders_with_odd_settings(folder, file, text, expected):
    (folder / file).write_text(text)
    if "index" in file:
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(SVDError, match=expected):
        open_checkpoint(folder)


def test_a_scheduler_that_convert_would_copy(folder, tmp_path):
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text('{"sigma_max": Infinity}')
    open_checkpoint(folder)
    with pytest.raises(SVDError, match=r"scheduler/scheduler_config\.json is unreadable \(it has Infinity"):
        convert_checkpoint(folder, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_tensor_in_two_shards(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(file, folder / "unet" / "two.safetensors")
    file.rename(folder / "unet" / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder / "unet" / f"{file.name}.index.json").write_text(json.dumps(index))
    with pytest.raises(SVDError, match=r"model/unet has \S+ in two of its files"):
        open_checkpoint(folder)


# --- sizes that would take for ever ------------------------------------------------------------------------------


def test_names_are_looked_at_once_whatever_their_number():
    class Counting(dict):
        looks = 0

        def __iter__(self):
            Counting.looks += 1
            return super().__iter__()

    names = Counting.fromkeys(f"down_blocks.{level}.attentions.0.norm.weight" for level in range(2000))
    unet_map_for_names(names)
    assert Counting.looks <= 5


def test_tables_of_names_do_not_grow_with_the_product_of_levels_and_blocks():
    names = [f"down_blocks.{index}.resnets.0.x" for index in range(20_000)]
    names += [f"down_blocks.0.resnets.{index}.x" for index in range(20_000)]
    assert len(unet_map_for_names(names).pairs) < 1_000_000
    vae = [f"encoder.down_blocks.{name.removeprefix('down_blocks.')}" for name in names]
    assert len(vae_map_for_names(vae).pairs) < 1_000_000


@pytest.mark.parametrize(
    ("part", "prefix", "leaf"),
    [
        ("unet", "input_blocks.", ".0.op.weight"),
        ("unet", "middle_block.1.transformer_blocks.", ".norm1.weight"),
        ("vae", "encoder.down.", ".block.0.conv1.weight"),
        ("clip", "vision_model.encoder.layers.", ".mlp.fc1.weight"),
    ],
)
def test_absurd_counts_build_no_network(monkeypatch, part, prefix, leaf):
    monkeypatch.setattr("svd_core.checkpoints.inventory._read_shapes", lambda *_: pytest.fail("was built"))
    shapes = inventory_of(part) | {f"{prefix}{index}{leaf}": (32, 32) for index in range(20_000)}
    with pytest.raises(SVDError, match=rf"it has more than 100 parts called {prefix}N"):
        INFER[part]("x.safetensors", shapes, hidden_settings(CONFIG)[part])


def inventory_of(part: str) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in PARTS[part].items()}


@pytest.fixture(scope="module", autouse=True)
def _parts(good):
    PARTS.update(open_checkpoint(good).parts)


def test_sizes_that_torch_cannot_count():
    shapes = {name: tuple(10**9 * n for n in shape) for name, shape in SHAPES.items()}
    with pytest.raises(SVDError):
        INFER["unet"]("x.safetensors", shapes, {})


# --- whole numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool], ids=str)
def test_whole_numbers_as_weights(good, tmp_path, dtype):
    for name in (f"{UNET}out.2.weight", "first_stage_model.decoder.conv_in.bias", f"{CLIP_PREFIX}ln_post.weight"):
        path = save_changed(good, tmp_path / "x.safetensors", {name: load_file(good)[name].to(dtype)})
        text = sentence(path, open_checkpoint)
        assert f"stores {name} as whole numbers ({str(dtype)[6:]}), as quantised files do" in text


def test_whole_numbers_in_a_lora(tmp_path):
    down, up = random_factors(SHAPES, [QUERY])[QUERY]
    path = write_lora(tmp_path / "l.safetensors", {QUERY: (down.to(torch.int8), up)}, SHAPES, "kohya")
    assert "as whole numbers (int8)" in sentence(path, read_lora, SHAPES)
    path = write_lora(tmp_path / "l.safetensors", {QUERY: (down, up)}, SHAPES, "kohya", alpha=2)  # torch.tensor(2)
    assert read_lora(path, SHAPES).layers[QUERY].alpha == 2.0


# --- LoRA --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["down", "up", "alpha"])
def test_a_lora_that_is_not_finite(tmp_path, value, place):
    down, up = random_factors(SHAPES, [QUERY])[QUERY]
    {"down": down, "up": up}.get(place, torch.zeros(2, 2))[1, 0] = value
    alpha = value if place == "alpha" else None
    path = write_lora(tmp_path / "l.safetensors", {QUERY: (down, up)}, SHAPES, "kohya", alpha)
    assert f"{place}" in sentence(path, read_lora, SHAPES)
    assert "holds numbers that are not finite" in sentence(path, read_lora, SHAPES)


@pytest.mark.parametrize("strength", [1e38, -1e300, 10**400, float("nan")])
def test_a_strength_that_overflows_changes_nothing(good, tmp_path, strength):
    pipe = SVDPipeline.from_checkpoint(good, device="cpu")
    first = write_lora(tmp_path / "first.safetensors", random_factors(SHAPES, [QUERY]), SHAPES, "kohya")
    pipe.load_lora(first)
    before = {name: parameter.clone() for name, parameter in pipe.unet.named_parameters()}
    many = random_factors(SHAPES, [name for name in SHAPES if "attn1.to_" in name and len(SHAPES[name]) == 2], size=9.0)
    path = write_lora(tmp_path / "l.safetensors", many, SHAPES, "kohya", alpha=1e6)
    with pytest.raises(SVDError, match=r"l\.safetensors") as caught:
        pipe.load_lora(path, strength)
    assert "overflows float32" in str(caught.value) or "is no finite number" in str(caught.value)
    assert all(torch.equal(parameter, before[name]) for name, parameter in pipe.unet.named_parameters())


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("to_q", "a.b.to_q", True),
        ("to_q", "a.b.not_to_q", False),
        ("b.to_q", "a.b.to_q", True),
        (r"b\.to_q$", "a.b.to_q", True),
        ("b.to_q", "b.to_q", True),
        ("^b.to_q", "a.b.to_q", False),
        ("^a.*", "a.b.to_q", True),
        ("^a.*to_q", "a.b.to_q", True),
        ("^b.*to_q", "a.b.to_q", False),
        ("b.*q", "a.b.to_q", True),
        (".*to_q", "a.b.to_q", True),
        ("a.*b.*to_q.*to_q", "a.b.to_q", False),
        ("a.*", "bca.to_q", False),
    ],
)
def test_patterns_match_as_peft_means_them(pattern, path, expected):
    assert Pattern.parse(pattern).matches(path) is expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"alpha_pattern": {"([a-z_0-9.]+)+X": 1}}, "its pattern ([a-z_0-9.]+)+X is not a name"),
        ({"alpha_pattern": {"(" * 5000: 1}}, "is not a name"),
        ({"alpha_pattern": {"a{99999999999}": 1}}, "its pattern a{99999999999} is not a name"),
        ({"alpha_pattern": {f"a{index}": 1 for index in range(3000)}}, "it has 3000 patterns"),
        ({"lora_alpha": "nan"}, "it has nan for an alpha"),
        ({"lora_alpha": [1]}, "it is no table"),
        ("[" * 100_000, "nested too deeply"),
        ('{"lora_alpha": Infinity}', "it has Infinity"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_settings_of_a_lora_that_would_run_for_hours(tmp_path, stated, expected):
    metadata = {"lora_adapter_metadata": stated if isinstance(stated, str) else json.dumps(stated)}
    factors = random_factors(SHAPES, [QUERY])
    path = write_lora(tmp_path / "l.safetensors", factors, SHAPES, "peft", metadata=metadata)
    assert expected in sentence(path, read_lora, SHAPES)


def test_names_of_layers_in_a_lora_are_printed_as_escapes(tmp_path, caplog):
    factors = random_factors(SHAPES, [QUERY])
    path = write_lora(tmp_path / "l.safetensors", factors, SHAPES, "peft")
    odd = {"\x1b[31mred\nline2.lora_A.weight": torch.zeros(2, 2), "unet." * 150 + "x.alpha": torch.zeros(())}
    save_file(load_file(path) | odd, path)
    with caplog.at_level(logging.INFO):
        read_lora(path, SHAPES)
    assert r"\x1b[31mred\nline2" in caplog.text and "\x1b" not in caplog.text


def test_a_name_of_prefixes_alone(tmp_path):
    save_file({"unet." * 5000 + "x.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "l.safetensors")
    assert "unreadable" in sentence(tmp_path / "l.safetensors", read_lora, SHAPES)
    assert header.MAX_NAME < 5000
