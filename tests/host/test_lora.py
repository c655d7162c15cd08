"""LoRA in the running host: through SVD LoRA and the host's own loader, on our MODEL and on the native one."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from graphs import Clip, Graph, Source, build, relative_error, run_and_load, succeeded
from safetensors.torch import load_file, save_file
from test_wrong_input import assert_one_sentence, failure

from svd_core import SVDPipeline
from svd_core.checkpoints import open_checkpoint, read_header, unet_shapes
from svd_core.checkpoints.names import unet_map_for_official_names
from tests.support.random_checkpoint import small_config, tiny_config
from tests.support.random_lora import OTHER_KINDS, Factors, random_factors, write_lora, write_other_kind
from tools.client import Client, HostError, Prompt
from tools.host import Host

CLIP = Clip(steps=2)
PREFIX = "model.diffusion_model."
SHAPES = unet_shapes(small_config().unet)
# One third of the layers of every kind, spatial and temporal.
CHANGED = [name for name, shape in SHAPES.items() if len(shape) > 1][::3]
MATRICES = [name for name, shape in SHAPES.items() if len(shape) > 1]
OFFICIAL, KOHYA, SECOND, OTHER, DORA = (
    f"{name}.safetensors" for name in ("official", "kohya", "second", "other_model", "dora")
)
ALPHA = 1.0  # of rank 2

Tensors = dict[str, torch.Tensor]
Link = tuple[str, str, float]  # node class, file, strength


@pytest.fixture(scope="module", autouse=True)
def loras(host: Host) -> Path:
    folder = host.base / "models" / "loras"
    first, second = (random_factors(SHAPES, CHANGED, seed=seed) for seed in (0, 1))
    write_lora(folder / OFFICIAL, first, SHAPES, "official", ALPHA)
    write_lora(folder / KOHYA, first, SHAPES, "kohya", ALPHA)
    write_lora(folder / SECOND, second, SHAPES, "official", ALPHA)
    write_dora(folder / DORA, random_factors(SHAPES, CHANGED, seed=2))
    write_lora(folder / OTHER, random_factors(unet_shapes(tiny_config().unet)), unet_shapes(tiny_config().unet), "peft")
    return folder


def write_dora(path: Path, factors: Mapping[str, Factors]) -> None:
    """As peft saves it, with magnitudes near the norms of the changed weights."""
    generator, weights = (
        torch.Generator().manual_seed(2),
        dict(open_checkpoint(path.parents[1] / "checkpoints" / SMALL).read("unet")),
    )
    write_lora(path, factors, SHAPES, "peft")
    names, tensors = unet_map_for_official_names(SHAPES), load_file(path)
    for weight in factors:
        norms = weights[weight].float().flatten(1).norm(dim=1)
        layer = names.to_other(weight.removesuffix(".weight"))
        magnitude = norms * (0.8 + 0.4 * torch.rand(norms.shape, generator=generator))
        tensors[f"base_model.model.{layer}.lora_magnitude_vector"] = magnitude
    save_file(tensors, path)


@pytest.fixture(scope="module")
def plain(client: Client, host: Host, source: Source) -> Tensors:
    return run_and_load(client, host.output, build(source, CLIP, name="plain"))


@pytest.fixture(scope="module")
def with_lora(client: Client, host: Host, source: Source) -> Tensors:
    return run_and_load(client, host.output, chained(build(source, CLIP, name="lora"), ours(OFFICIAL)))


def ours(file: str, strength: float = 1.0) -> Link:
    return "SVD_LoRA", file, strength


def theirs(file: str, strength: float = 1.0) -> Link:
    return "LoraLoaderModelOnly", file, strength


def chained(prompt: Prompt, *links: Link) -> Prompt:
    """The graph with LoRA nodes between its loader, which is its first node, and whatever takes the MODEL."""
    graph = Graph(copy.deepcopy(prompt))
    takers = [node["inputs"] for node in graph.prompt.values() if node["inputs"].get("model") == ["1", 0]]
    model = ["1", 0]
    for node, file, strength in links:
        names = ("lora", "strength") if node == "SVD_LoRA" else ("lora_name", "strength_model")
        model = graph.add(node, model=model, **dict(zip(names, (file, strength), strict=True)))[0]
    for inputs in takers:
        inputs["model"] = model
    return graph.prompt


def merged_unet(host: Host, loras: Path, *files: str) -> Tensors:
    """The UNet's weights with LoRAs merged by the core."""
    pipe = SVDPipeline.from_checkpoint(host.checkpoints / SMALL, device="cpu", dtype=torch.float32)
    for file in files:
        pipe.load_lora(loras / file)
    return {PREFIX + name: parameter.detach() for name, parameter in pipe.unet.named_parameters()}


def test_a_lora_changes_the_clip(plain: Tensors, with_lora: Tensors) -> None:
    assert with_lora["latent"].isfinite().all()
    assert relative_error(with_lora["latent"], plain["latent"]) > 0.01


@pytest.mark.parametrize("file", [OFFICIAL, DORA])
def test_it_equals_the_weights_merged_by_the_core(
    client: Client, host: Host, source: Source, loras: Path, plain: Tensors, file: str
) -> None:
    """The checkpoint with the LoRA in it, saved and loaded as any other."""
    path = host.checkpoints / f"merged_{file}"
    whole = {name: tensor.float() for name, tensor in load_file(host.checkpoints / SMALL).items()}
    save_file(whole | merged_unet(host, loras, file), path, read_header(host.checkpoints / SMALL).metadata)
    assert open_checkpoint(path).unet == small_config().unet
    merged = Source(path.name, source.picture, source.native_loader)
    clip = run_and_load(client, host.output, build(merged, CLIP, name=f"merged {file}"))
    found = run_and_load(client, host.output, chained(build(source, CLIP, name=f"node {file}"), ours(file)))
    error = relative_error(found["latent"], clip["latent"])
    print("node / merged", file, error)
    assert error <= 1e-4
    assert relative_error(found["latent"], plain["latent"]) > 0.01


def test_every_name_it_has_means_the_same(client: Client, host: Host, source: Source, with_lora: Tensors) -> None:
    clip = run_and_load(client, host.output, chained(build(source, CLIP, name="kohya"), ours(KOHYA)))
    assert torch.equal(clip["latent"], with_lora["latent"])
    assert f"{KOHYA}: matched {len(CHANGED)} of {len(CHANGED)} layers." in host.log_text()
    assert f"{KOHYA}: {len(inert())} of its layers change queries and keys" in host.log_text()


def inert() -> list[str]:
    return [name for name in CHANGED if name.endswith((".attn2.to_q.weight", ".attn2.to_k.weight"))]


def test_the_hosts_own_loader_takes_official_names(
    client: Client, host: Host, source: Source, with_lora: Tensors
) -> None:
    before = len(host.log_text())
    clip = run_and_load(client, host.output, chained(build(source, CLIP, name="theirs"), theirs(OFFICIAL)))
    assert torch.equal(clip["latent"], with_lora["latent"])
    said = host.log_text()[before:]
    assert "lora key not loaded" not in said and "NOT LOADED" not in said


def test_both_loaders_stack(client: Client, host: Host, source: Source, with_lora: Tensors) -> None:
    chains = {
        "ours": (ours(OFFICIAL), ours(SECOND)),
        "mixed": (ours(OFFICIAL), theirs(SECOND)),
        "turned": (theirs(SECOND), ours(OFFICIAL)),
    }
    clips = [
        run_and_load(client, host.output, chained(build(source, CLIP, name=name), *links))["latent"]
        for name, links in chains.items()
    ]
    assert relative_error(clips[0], with_lora["latent"]) > 0.01
    assert torch.equal(clips[0], clips[1])
    assert relative_error(clips[2], clips[0]) <= 1e-4  # another order of the same sums


def test_strength(client: Client, host: Host, source: Source, plain: Tensors, with_lora: Tensors) -> None:
    """None leaves the model as it is, and a LoRA and its opposite cancel."""
    off = run_and_load(client, host.output, chained(build(source, CLIP, name="off"), ours(OFFICIAL, 0.0)))
    assert torch.equal(off["latent"], plain["latent"])
    undone = chained(build(source, CLIP, name="undone"), ours(OFFICIAL, 0.5), ours(OFFICIAL, -0.5))
    assert relative_error(run_and_load(client, host.output, undone)["latent"], plain["latent"]) <= 1e-4
    half = run_and_load(client, host.output, chained(build(source, CLIP, name="half"), ours(OFFICIAL, 0.5)))
    assert relative_error(half["latent"], plain["latent"]) > 0.001
    assert relative_error(half["latent"], with_lora["latent"]) > 0.001


def test_the_native_model_takes_it(client: Client, host: Host, source: Source, with_lora: Tensors) -> None:
    prompt = chained(build(source, CLIP, ("loader",), name="native"), ours(OFFICIAL))
    clip = run_and_load(client, host.output, prompt)
    error = relative_error(clip["latent"], with_lora["latent"])
    print("native model / ours", error)
    assert error <= 1e-3


def test_weights_in_eight_bits_take_it(
    client: Client, host: Host, source: Source, plain: Tensors, with_lora: Tensors
) -> None:
    """Their rounding shows, and less than the LoRA does."""
    prompt = chained(build(source, CLIP, name="eight"), ours(OFFICIAL))
    prompt["1"]["inputs"]["weight_dtype"] = "fp8_e4m3fn"
    clip = run_and_load(client, host.output, prompt)
    near = relative_error(clip["latent"], with_lora["latent"])
    far = relative_error(clip["latent"], plain["latent"])
    print("fp8", near, far)
    assert near < far


@pytest.mark.parametrize("file", [OFFICIAL, DORA])
def test_it_reaches_weights_that_are_loaded_in_part(comfyui: Path, host: Host, loras: Path, file: str) -> None:
    """Every layer takes it, wherever its weights are, and the model it was added to stays as it was."""
    command = [sys.executable, str(Path(__file__).with_name("lora_process.py"))]
    command += map(str, (comfyui, host.checkpoints / SMALL, loras / file))
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(output.splitlines()[-1])
    print(report)
    assert report["not taken"] == report["on the first"] == report["restored"] == 0
    assert report["effect"] > 0.01
    assert report["described otherwise"] == {}
    assert report["in part"] <= 1e-6


def test_the_host_saves_what_it_changed(client: Client, host: Host, loras: Path) -> None:
    graph = Graph()
    loader = graph.add("SVD_Loader", checkpoint=SMALL, weight_dtype="auto")
    lora = graph.add("SVD_LoRA", model=loader[0], lora=OFFICIAL, strength=1.0)
    names = {"clip_vision": loader[1], "vae": loader[2], "filename_prefix": "with_lora"}
    graph.add("ImageOnlyCheckpointSave", model=lora[0], **names)
    succeeded(client.run(graph.prompt))
    (path,) = host.output.glob("with_lora*.safetensors")
    saved, wanted = load_file(path), merged_unet(host, loras, OFFICIAL)
    for name, weight in wanted.items():
        torch.testing.assert_close(saved[name].float(), weight, rtol=1e-5, atol=1e-6, msg=name)


@pytest.fixture(scope="module")
def other_kinds(loras: Path) -> dict[str, list[str]]:
    """One file of each kind that only the host reads, under names it knows and under those it does not.

    Each kind has layers of its own, spatial and temporal.
    """
    count = len(OTHER_KINDS)
    for place, kind in enumerate(OTHER_KINDS):
        for layout in ("official", "diffusers"):
            write_other_kind(loras / f"{kind}_{layout}.safetensors", kind, SHAPES, MATRICES[place::count], layout)
    return {layout: [f"{kind}_{layout}.safetensors" for kind in OTHER_KINDS] for layout in ("official", "diffusers")}


def test_other_kinds_are_what_the_host_makes_of_them(
    client: Client, host: Host, source: Source, plain: Tensors, other_kinds: dict[str, list[str]]
) -> None:
    """On the host's own model, through its own loader, it reads only the official names of the temporal layers."""
    native = build(source, CLIP, ("loader",), name="native_kinds")
    wanted = run_and_load(client, host.output, chained(native, *map(theirs, other_kinds["official"])))["latent"]
    before = len(host.log_text())
    for layout in other_kinds:
        ours_on_native = run_and_load(client, host.output, chained(native, *map(ours, other_kinds[layout])))
        assert torch.equal(ours_on_native["latent"], wanted)
    mine = build(source, CLIP, name="our_kinds")
    ours_on_ours = run_and_load(client, host.output, chained(mine, *map(ours, other_kinds["diffusers"])))["latent"]
    assert relative_error(ours_on_ours, wanted) <= 1e-3
    assert relative_error(ours_on_ours, plain["latent"]) > 0.01
    said = host.log_text()[before:]
    assert "ERROR" not in said and "not matched" not in said
    for place, kind in enumerate(OTHER_KINDS):
        layers = len(MATRICES[place :: len(OTHER_KINDS)])
        assert f"{kind}_diffusers.safetensors: matched {layers} of {layers} layers." in said


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_of_another_model(client: Client, source: Source, loras: Path, kind: str) -> None:
    """With the names of this model, and the sizes of another."""
    shapes = {weight: (2 * shape[0], 2 * shape[1], *shape[2:]) for weight, shape in SHAPES.items() if len(shape) > 1}
    write_other_kind(loras / "larger.safetensors", kind, shapes, MATRICES[:1], "official")
    node, sentence = failure(client, chained(build(source, CLIP, name="never"), ours("larger.safetensors")))
    assert node == "SVD_LoRA"
    assert "larger.safetensors does not fit this model" in sentence
    assert_one_sentence(sentence.replace("larger.safetensors", "file"))


def test_layers_of_other_kinds_that_do_not_match_are_named(
    client: Client, host: Host, source: Source, loras: Path, other_kinds: dict[str, list[str]]
) -> None:
    tensors = load_file(loras / "loha_diffusers.safetensors")
    foreign = {
        f"unet.elsewhere.{name.rpartition('.')[2]}": tensor.clone() for name, tensor in list(tensors.items())[:5]
    }
    save_file(tensors | foreign, loras / "mixed.safetensors")
    run_and_load(client, host.output, chained(build(source, CLIP, name="mixed"), ours("mixed.safetensors")))
    layers = len(MATRICES[:: len(OTHER_KINDS)])
    expected = f"mixed.safetensors: matched {layers} of {layers + 1} layers; not matched: unet.elsewhere."
    assert expected in host.log_text()


@pytest.mark.parametrize(("kind", "zeros"), [("loha", "hada_w1_a"), ("lokr", "lokr_w2"), ("diff", "diff")])
def test_zeros_of_other_kinds_say_so(
    client: Client, host: Host, source: Source, loras: Path, other_kinds: dict[str, list[str]], kind: str, zeros: str
) -> None:
    tensors = load_file(loras / f"{kind}_official.safetensors")
    zeroed = {name: tensor * (not name.endswith(zeros)) for name, tensor in tensors.items()}
    name = next(name for name in zeroed if name.endswith(zeros))
    for file, content in (("zeros", zeroed), ("one_is_left", zeroed | {name: tensors[name]})):
        save_file(content, loras / f"{kind}_{file}.safetensors")
        succeeded(client.run(chained(build(source, CLIP, name=file), ours(f"{kind}_{file}.safetensors"))))
    said = host.log_text()
    assert f"{kind}_zeros.safetensors changes nothing" in said
    assert f"{kind}_one_is_left.safetensors changes nothing" not in said


def test_half_a_file(client: Client, source: Source, loras: Path, other_kinds: dict[str, list[str]]) -> None:
    tensors = load_file(loras / "loha_official.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "w2_a" not in name}, loras / "half.safetensors")
    node, sentence = failure(client, chained(build(source, CLIP, name="never"), ours("half.safetensors")))
    assert node == "SVD_LoRA" and "half.safetensors lacks the tensor" in sentence


def test_a_lora_of_another_model(client: Client, source: Source) -> None:
    node, sentence = failure(client, chained(build(source, CLIP, name="never"), ours(OTHER)))
    assert node == "SVD_LoRA"
    assert OTHER in sentence and "does not fit this model" in sentence
    assert_one_sentence(sentence.replace(OTHER, "file"))


def test_a_file_that_is_no_lora(client: Client, host: Host, source: Source, loras: Path) -> None:
    (loras / SMALL).write_bytes((host.checkpoints / SMALL).read_bytes())
    node, sentence = failure(client, chained(build(source, CLIP, name="never"), ours(SMALL)))
    assert node == "SVD_LoRA"
    assert f"{SMALL} is not a LoRA" in sentence


def test_files_outside_the_list_are_refused(client: Client, source: Source) -> None:
    with pytest.raises(HostError) as refused:
        client.queue(chained(build(source, CLIP, name="never"), ours("../checkpoints/small.safetensors")))
    errors = [error["type"] for node in refused.value.body["node_errors"].values() for error in node["errors"]]
    assert "value_not_in_list" in errors
