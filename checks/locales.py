"""Keep the translations in step with the nodes.

    python -m checks.locales

Writes `locales/en/nodeDefs.json` from the nodes' own texts, which are the only English ones kept by hand, and lists
what every other language lacks or has too much.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.client import JSON
from tools.comfyui import REPOSITORY, find_comfyui

LOCALES = REPOSITORY / "locales"
SOURCE_LANGUAGE = "en"
FILE_NAME = "nodeDefs.json"  # the host's
FILE_LISTS = (
    "checkpoint",
    "companion",
    "extension",
    "lora",
)  # inputs whose options are file names, which nobody translates


def main() -> None:
    english = texts(object_info(find_comfyui()))
    write(LOCALES / SOURCE_LANGUAGE / FILE_NAME, english)
    for language in languages():
        ours, theirs = keys(read(language)), keys(english)
        for problem, names in (("lacks", theirs - ours), ("has no use for", ours - theirs)):
            for name in sorted(names):
                print(f"{language} {problem} {name}")


def object_info(comfyui: Path) -> JSON:
    """Ask the host for the pack's nodes (/object_info), without starting its server."""
    command = [sys.executable, str(REPOSITORY / "tests" / "support" / "import_pack.py"), str(comfyui)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["object_info"]


def languages() -> list[str]:
    return sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir())


def read(language: str) -> JSON:
    return json.loads((LOCALES / language / FILE_NAME).read_text("utf-8"))


def write(path: Path, content: JSON) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")


def texts(info: JSON) -> JSON:
    """The page's `nodeDefs` of nodes in the form of /object_info."""
    return {name: node_texts(node) for name, node in info.items()}


def node_texts(node: JSON) -> JSON:
    inputs = {name: spec for kind in ("required", "optional") for name, spec in node["input"].get(kind, {}).items()}
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {key: value for name, spec in inputs.items() for key, value in input_texts(name, spec)},
        "outputs": {
            str(index): {"name": name, "tooltip": tooltip}
            for index, (name, tooltip) in enumerate(zip(node["output_name"], node["output_tooltips"], strict=True))
        },
    }


def input_texts(name: str, spec: list[Any]) -> Iterator[tuple[str, JSON]]:
    """One entry for an input, and one for the widget that the page itself puts below a seed."""
    options = spec[1]
    entry = {"name": options.get("display_name", name), "tooltip": options.get("tooltip", "")}
    if "options" in options and name not in FILE_LISTS:
        entry["options"] = {option: option for option in options["options"]}
    yield name, entry
    if options.get("control_after_generate"):
        yield "control_after_generate", {"name": "control after generate"}


def keys(content: Any, path: str = "") -> set[str]:
    """The path of every text, such as `SVD_Sampler.inputs.steps.tooltip`."""
    if not isinstance(content, dict):
        return {path}
    return {name for key, value in content.items() for name in keys(value, f"{path}.{key}" if path else key)}


if __name__ == "__main__":
    main()
