"""The example workflows, in the two forms ComfyUI knows: the page's (UI) and the server's (API)."""

from __future__ import annotations

import copy
import json
from typing import Any

from .client import JSON, Prompt
from .comfyui import REPOSITORY

FOLDER = REPOSITORY / "example_workflows"
WORKFLOWS = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
PICTURE = FOLDER / "sailing_boat.png"
DEMO_PICTURE = FOLDER / "svd_demo_comet.png"
DEMO_LAST_PICTURE = FOLDER / "svd_demo_comet_last.png"

# The page adds a choice (fixed, increment, randomize) after a seed; the server never sees it.
SEEDS = ("seed", "noise_seed")
CONTROL = "control_after_generate"
PAGE_ONLY_NODES = ("MarkdownNote", "Note")
PAGE_ONLY_INPUTS = ("IMAGEUPLOAD",)


def load_api(name: str = "image_to_video") -> Prompt:
    return json.loads((FOLDER / "api" / f"{name}.json").read_text("utf-8"))


def load_ui(name: str = "image_to_video") -> JSON:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def node_of(prompt: Prompt, class_type: str) -> str:
    """Find the id of the only node of a class."""
    (node_id,) = (node_id for node_id, node in prompt.items() if node["class_type"] == class_type)
    return node_id


def with_inputs(prompt: Prompt, **inputs: dict[str, Any]) -> Prompt:
    """A copy with some inputs changed: `with_inputs(prompt, SVD_Sampler={"steps": 2})`."""
    changed = copy.deepcopy(prompt)
    for class_type, values in inputs.items():
        changed[node_of(changed, class_type)]["inputs"].update(values)
    return changed


def widget_names(node: JSON) -> list[str]:
    """Names of a UI node's `widgets_values`, in their order."""
    names = [entry["name"] for entry in node["inputs"] if "widget" in entry]
    return [name for each in names for name in ((each, CONTROL) if each in SEEDS else (each,))]


def to_api(ui: JSON) -> Prompt:
    """Convert UI form to API form. Covers our examples: no sub-graphs, muted nodes or lists as values.

    Nodes without a title of their own show their name in the language of the page.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in ui["links"]}
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": _api_inputs(node, sources),
            **({"_meta": {"title": node["title"]}} if "title" in node else {}),
        }
        for node in ui["nodes"]
        if node["type"] not in PAGE_ONLY_NODES
    }


def update_ui(ui: JSON, prompt: Prompt) -> JSON:
    """A copy of the UI form whose widgets show the values of `prompt`; a link gives way to a value."""
    updated = copy.deepcopy(ui)
    for node in updated["nodes"]:
        inputs = prompt.get(str(node["id"]), {}).get("inputs", {})
        for position, name in enumerate(widget_names(node)):
            if name in inputs and not isinstance(inputs[name], list):
                node["widgets_values"][position] = inputs[name]
        for entry in node["inputs"]:
            if entry["link"] is not None and not isinstance(inputs.get(entry["name"], []), list):
                _cut(updated, entry)
    return updated


def _cut(ui: JSON, entry: JSON) -> None:
    """Remove the link into an input from the graph."""
    cut = entry["link"]
    entry["link"] = None
    ui["links"] = [link for link in ui["links"] if link[0] != cut]
    for output in (output for node in ui["nodes"] for output in node["outputs"]):
        output["links"] = [link for link in output["links"] if link != cut]


def _api_inputs(node: JSON, sources: dict[int, list[Any]]) -> JSON:
    widgets = dict(zip(widget_names(node), node["widgets_values"], strict=True))
    inputs: JSON = {}
    for entry in node["inputs"]:
        if entry["link"] is not None:
            inputs[entry["name"]] = sources[entry["link"]]
        elif "widget" in entry and entry["type"] not in PAGE_ONLY_INPUTS:
            inputs[entry["name"]] = widgets[entry["name"]]
    return inputs
