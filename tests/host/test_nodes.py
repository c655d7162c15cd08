"""What the running host knows of the pack: nodes, tooltips, templates."""

from __future__ import annotations

import json

import pytest

from svd_core.pipeline.settings import ClipSettings, ResolvedSettings, describe_settings
from tools.client import JSON, Client
from tools.comfyui import REPOSITORY
from tools.host import PACK_NAME, Host
from tools.workflow import WORKFLOWS, load_api, load_ui, node_of, to_api, widget_names

NODES = {
    "SVD_Loader": ("SVD Loader", ["MODEL", "CLIP_VISION", "VAE"]),
    "SVD_LoRA": ("SVD LoRA", ["MODEL"]),
    "SVD_CLIPImageEncode": ("CLIP Image Encode", ["CLIP_VISION_OUTPUT"]),
    "SVD_VAEEncodeConditioning": ("VAE Encode Conditioning", ["CONDITIONING", "CONDITIONING", "LATENT", "FLOAT"]),
    "SVD_Sampler": ("SVD Sampler", ["LATENT"]),
    "SVD_TemporalVAEDecode": ("Temporal VAE Decode", ["IMAGE"]),
    "SVD_VideoEncode": ("SVD Video Encode", ["LATENT"]),
    "SVD_HoldFrames": ("SVD Hold Frames", ["LATENT"]),
    "SVD_LatentCorrection": ("SVD Latent Correction", ["LATENT"]),
    "SVD_ColourMatch": ("SVD Colour Match", ["IMAGE"]),
    "SVD_ContactSheet": ("SVD Contact Sheet", ["IMAGE", "IMAGE"]),
    "SVD_FitSize": ("SVD Fit Size", ["INT", "INT"]),
}
# What workflows out there were saved with: lines may be added, and none may be changed. A workflow keeps the values of
# widgets by their position; one in API form keeps them by name, and may leave out what came later.
SAVED: JSON = json.loads((REPOSITORY / "tests" / "data" / "saved_nodes.json").read_text("utf-8"))

# The nodes' names of settings that Python has as well.
IN_PYTHON = {
    "SVD_VAEEncodeConditioning": {
        "width": "width",
        "height": "height",
        "fit": "fit",
        "video_frames": "num_frames",
        "motion_bucket_id": "motion_bucket_id",
        "fps": "fps",
        "augmentation_level": "noise_aug_strength",
    },
    "SVD_Sampler": {
        "steps": "num_inference_steps",
        "min_cfg": "min_cfg_scale",
        "max_cfg": "max_cfg_scale",
        "guidance": "guidance_kind",
        "sampler": "sampler",
        "schedule": "schedule",
        "denoise": "denoising_strength",
        "speed": "speed",
    },
    "SVD_LatentCorrection": {
        "post_normalize": "post_normalize",
        "contrast_enhance_scale": "contrast_enhance_scale",
    },
}


def inputs_of(info: JSON) -> dict[str, list]:
    """Name -> [type, options], required ones first, in the order the page shows them."""
    return {
        name: info["input"][kind][name]
        for kind in ("required", "optional")
        for name in info["input_order"].get(kind, [])
    }


def test_the_pack_loads_without_complaint(host: Host, object_info: JSON) -> None:
    assert "(IMPORT FAILED)" not in host.log_text()  # in brackets: of a custom node
    assert "Error while calling comfy_entrypoint" not in host.log_text()


@pytest.mark.parametrize("node_id", NODES)
def test_names_and_outputs(object_info: JSON, node_id: str) -> None:
    info = object_info[node_id]
    assert (info["display_name"], info["output"]) == NODES[node_id]
    assert info["category"] == "SVD"
    assert info["python_module"] == f"custom_nodes.{PACK_NAME}"
    assert info["description"]


@pytest.mark.parametrize("node_id", NODES)
def test_every_input_has_a_tooltip(object_info: JSON, node_id: str) -> None:
    bare = [name for name, (_, options) in inputs_of(object_info[node_id]).items() if not options.get("tooltip")]
    assert not bare


@pytest.mark.parametrize("node_id", SAVED)
def test_saved_workflows_still_fit(object_info: JSON, node_id: str) -> None:
    saved, info = SAVED[node_id], object_info[node_id]
    assert info["output"][: len(saved["outputs"])] == saved["outputs"]
    for kind, required in (("required", True), ("optional", False)):
        recorded = [entry["name"] for entry in saved["inputs"] if entry["required"] is required]
        assert info["input_order"].get(kind, [])[: len(recorded)] == recorded
    required = [entry["name"] for entry in saved["inputs"] if entry["required"]]
    assert info["input_order"].get("required", []) == required, "a new input must be optional"
    inputs = inputs_of(info)
    for entry in saved["inputs"]:
        kind, options = inputs[entry["name"]]
        assert kind == entry["type"]
        assert options.get("default") == entry.get("default")
        assert set(entry.get("options", ())) <= set(options.get("options", ()))


def test_all_nodes_are_recorded(object_info: JSON) -> None:
    """For the workflows that will be saved with them."""
    for node_id in NODES:
        assert [entry["name"] for entry in SAVED[node_id]["inputs"]] == list(inputs_of(object_info[node_id]))


@pytest.mark.parametrize("node_id", IN_PYTHON)
def test_nodes_and_python_start_from_the_same_settings(object_info: JSON, node_id: str) -> None:
    inputs, settings = inputs_of(object_info[node_id]), ResolvedSettings()
    limits = describe_settings(ClipSettings)
    for name, python in IN_PYTHON[node_id].items():
        _, options = inputs[name]
        assert options["default"] == getattr(settings, python), name
        setting = limits[python][1]
        assert tuple(options.get("options", ())) == setting.choices, name
        if setting.limits:
            assert setting.limits[0] <= options["min"] and options["max"] <= setting.limits[1], name
            assert options["max"] == setting.limits[1] or python in ("fps", "contrast_enhance_scale"), name


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_two_forms_of_the_workflow_agree(name: str) -> None:
    assert to_api(load_ui(name)) == load_api(name)


@pytest.mark.usefixtures("default_host")
@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_workflow_fits_the_nodes(object_info: JSON, name: str) -> None:
    """Names and their order in the page's form, types of the links, and required inputs."""
    ui = load_ui(name)
    for node in ui["nodes"]:
        if node["type"] not in object_info:
            assert node["type"] == "MarkdownNote"
            continue
        info = object_info[node["type"]]
        known = inputs_of(info)
        declared = [entry["name"] for entry in node["inputs"] if entry["type"] != "IMAGEUPLOAD"]
        assert set(info["input_order"]["required"]) <= set(declared) <= set(known), node["type"]
        widgets = [name for name in widget_names(node) if name in known]
        assert widgets == [name for name in known if name in widgets], node["type"]
        assert [output["type"] for output in node["outputs"]] == info["output"]
    outputs = {
        (node["id"], slot): output["type"] for node in ui["nodes"] for slot, output in enumerate(node["outputs"])
    }
    targets = {(node["id"], slot): entry for node in ui["nodes"] for slot, entry in enumerate(node["inputs"])}
    for link_id, from_node, from_slot, to_node, to_slot, kind in ui["links"]:
        assert kind == outputs[from_node, from_slot] == targets[to_node, to_slot]["type"]
        assert targets[to_node, to_slot]["link"] == link_id


def test_seeds_offer_control_after_generate(object_info: JSON) -> None:
    for node_id in ("SVD_VAEEncodeConditioning", "SVD_Sampler"):
        assert inputs_of(object_info[node_id])["seed"][1]["control_after_generate"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_workflow_is_offered_as_a_template(client: Client, name: str) -> None:
    assert name in client.get("/api/workflow_templates")[PACK_NAME]
    assert client.get(f"/api/workflow_templates/{PACK_NAME}/{name}.json") == load_ui(name)


def test_the_demo_needs_nothing_from_outside(object_info: JSON) -> None:
    """Its model and picture are on offer in a host whose folders never held them."""
    prompt = load_api()
    loader, picture = (prompt[node_of(prompt, kind)]["inputs"] for kind in ("SVD_Loader", "LoadImage"))
    assert loader["checkpoint"] == inputs_of(object_info["SVD_Loader"])["checkpoint"][1]["options"][0]
    assert picture["image"] in inputs_of(object_info["LoadImage"])["image"][0]


def test_the_bundled_model_is_offered_by_this_loader_alone(object_info: JSON) -> None:
    for node_id, info in object_info.items():
        if node_id != "SVD_Loader":
            assert "svd_demo (bundled)" not in json.dumps(info), node_id
