"""Every example workflow: as its tool writes it, complete for the page, and queued through a real host."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SMALL
from graphs import succeeded
from PIL import Image

from checks.examples import DEMO, pages
from svd_core.checkpoints import open_checkpoint
from svd_core.models.unet.unet import VideoUNet
from tests.support.random_lora import random_factors, write_lora
from tools.client import JSON, Client, HostError, Prompt
from tools.host import Host
from tools.workflow import FOLDER, WORKFLOWS, load_api, load_ui, to_api, update_ui, with_inputs

PAGES = pages()
LORA = "random_lora.safetensors"
SMALL_SIZE = {"width": 64, "height": 64, "video_frames": 4}


@pytest.fixture(scope="module")
def lora(host: Host) -> str:
    checkpoint = open_checkpoint(host.checkpoints / SMALL)
    shapes = {name: tuple(weight.shape) for name, weight in VideoUNet(checkpoint.unet).state_dict().items()}
    write_lora(host.base / "models" / "loras" / LORA, random_factors(shapes), shapes, "diffusers")
    return LORA


def kinds(prompt: Prompt) -> set[str]:
    return {node["class_type"] for node in prompt.values()}


def is_demo(prompt: Prompt) -> bool:
    return any(node["inputs"].get("checkpoint") == DEMO for node in prompt.values())


def made_small(name: str, lora: str) -> Prompt:
    """With a small checkpoint for the released one, and few steps."""
    prompt = load_api(name)
    if not is_demo(prompt):
        prompt = with_inputs(prompt, SVD_Loader={"checkpoint": SMALL}, SVD_VAEEncodeConditioning=SMALL_SIZE)
    if "SVD_LoRA" in kinds(prompt):
        prompt = with_inputs(prompt, SVD_LoRA={"lora": lora})
    return with_inputs(prompt, **{kind: {"steps": 2} for kind in ("SVD_Sampler", "KSampler") if kind in kinds(prompt)})


def test_every_example_is_there() -> None:
    assert set(PAGES) == set(WORKFLOWS) == {path.stem for path in (FOLDER / "api").glob("*.json")}


@pytest.mark.usefixtures("default_host")
@pytest.mark.parametrize("name", WORKFLOWS)
def test_files_are_what_the_tool_writes(object_info: JSON, name: str) -> None:
    assert load_ui(name) == PAGES[name].ui(name, object_info), "run python -m checks.examples"
    assert load_api(name) == PAGES[name].api(object_info)


def test_page_shows_values_that_replace_a_link() -> None:
    prompt = with_inputs(load_api("image_to_video_xt"), SVD_VAEEncodeConditioning={"width": 512})
    ui = update_ui(load_ui("image_to_video_xt"), prompt)
    assert to_api(ui) == prompt
    linked = {link[0] for link in ui["links"]}
    assert linked == {link for node in ui["nodes"] for output in node["outputs"] for link in output["links"]}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_thumbnail_is_a_picture(client: Client, name: str) -> None:
    with Image.open(FOLDER / f"{name}.jpg") as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 360
        assert max(high - low for low, high in picture.convert("RGB").getextrema()) > 60


@pytest.mark.parametrize("name", WORKFLOWS)
def test_note_tells_the_licence(name: str) -> None:
    (note,) = (node for node in load_ui(name)["nodes"] if node["type"] == "MarkdownNote")
    assert "Stability AI Community License" in note["widgets_values"][0]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_released_files_are_offered_for_download(name: str) -> None:
    """The page asks for files that are missing by the entries of the node that names them."""
    prompt = load_api(name)
    offered = {
        node["id"]: node["properties"]["models"] for node in load_ui(name)["nodes"] if "models" in node["properties"]
    }
    for node_id, node in prompt.items():
        checkpoint = node["inputs"].get("checkpoint", DEMO)
        if checkpoint != DEMO:
            (model,) = offered.pop(int(node_id))
            assert model["name"] == checkpoint
            assert model["directory"] == "checkpoints"
            assert model["url"].startswith("https://huggingface.co/stabilityai/")
            assert model["url"].endswith(f"/resolve/main/{checkpoint}")
    assert not offered


@pytest.mark.parametrize("name", WORKFLOWS)
def test_example_runs(client: Client, lora: str, name: str, tmp_path: Path) -> None:
    prompt = made_small(name, lora)
    run = succeeded(client.run(prompt))
    savers = [node_id for node_id, node in prompt.items() if node["class_type"] == "SaveVideo"]
    assert savers
    for saver in savers:
        (file,) = run.files(saver)
        assert client.download(file, tmp_path).stat().st_size > 500


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if not is_demo(load_api(name))])
def test_example_without_its_files_lacks_those_and_nothing_else(client: Client, name: str) -> None:
    """Under another name, since other tests put a file of that name there."""
    with pytest.raises(HostError) as refused:
        client.queue(with_inputs(load_api(name), SVD_Loader={"checkpoint": "absent.safetensors"}))
    errors = [error for node in refused.value.body["node_errors"].values() for error in node["errors"]]
    assert {error["type"] for error in errors} == {"value_not_in_list"}
    assert {error["extra_info"]["input_name"] for error in errors} <= {"checkpoint", "lora"}
