"""The examples in every supported ComfyUI, with few steps: do they run, and are latents and frames equal bit by bit?

    python -m tools.hosts [VERSION ...] [--libraries FOLDER]

Downloads each ComfyUI once. All run in this one environment, or once more with the libraries of FOLDER before those of
the environment. Prints a table, and exits with 1 where a row is not as the first one.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from checks.host_interface import find_breaks

from .client import Prompt
from .comfyui import DEFAULT_VERSION, REPOSITORY, SDISTS, cached_comfyui
from .host import PACK_NAME, Host
from .same_clips import SUPPORT_PACK, Clips, read_workflows, relative_change, run, write_models

STEPS = 3
SAMPLERS = ("SVD_Sampler", "KSampler")
PACKS = {PACK_NAME: REPOSITORY, "svd-nodes-tests": SUPPORT_PACK}
NODES = sorted(json.loads((REPOSITORY / "locales" / "en" / "nodeDefs.json").read_text("utf-8")))


@dataclass
class Outcome:
    """What came of one ComfyUI: its name in the table, what went wrong, what the examples gave."""

    name: str
    nodes: int = 0
    clips: dict[str, Clips] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="nox -s hosts --", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of {', '.join(SDISTS)} (default: all)")
    parser.add_argument("--libraries", type=Path, help="folder of newer libraries, as pip install --target leaves it")
    options = parser.parse_args()
    versions = options.versions or ([DEFAULT_VERSION] if options.libraries else list(SDISTS))
    known = try_host(DEFAULT_VERSION)
    outcomes = [known]
    outcomes += [try_host(version) for version in versions if version != DEFAULT_VERSION]
    if options.libraries:
        outcomes += [try_host(version, options.libraries.resolve()) for version in versions]
    print("\n| ComfyUI | nodes | examples | equal | s |\n|---|---|---|---|---|")
    for outcome in outcomes:
        compare(outcome, known)
        equal = len(outcome.clips) - len([fault for fault in outcome.faults if "differ" in fault])
        print(f"| {outcome.name} | {outcome.nodes} | {len(outcome.clips)} | {equal} | {outcome.seconds:.0f} |")
    faults = [f"{outcome.name}: {fault}" for outcome in outcomes for fault in outcome.faults]
    sys.exit("\n".join(faults) or 0)


def try_host(version: str, libraries: Path | None = None) -> Outcome:
    """Run every example in one ComfyUI; a fault ends this ComfyUI alone."""
    outcome = Outcome(version + " with other libraries" * (libraries is not None))
    print(f"ComfyUI {outcome.name}", flush=True)
    start, comfyui = time.monotonic(), cached_comfyui(version=version)
    outcome.faults += find_breaks(comfyui)
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder) / "models")
        try:
            with Host(comfyui, Path(folder), PACKS, libraries=libraries) as host:
                outcome.nodes = count_nodes(host, outcome.faults)
                run_examples(host, outcome)
        except RuntimeError as error:
            outcome.faults.append(str(error))
    outcome.seconds = time.monotonic() - start
    return outcome


def count_nodes(host: Host, faults: list[str]) -> int:
    """Count this pack's nodes, and note those that are missing."""
    module = f"custom_nodes.{PACK_NAME}"
    found = [name for name, node in host.client.get("/object_info").items() if node["python_module"] == module]
    if sorted(found) != NODES:
        faults.append(f"lacks the nodes {sorted(set(NODES) - set(found))}")
    log = host.log_text().splitlines()  # the host has nodes of its own that fail, for libraries that they lack
    faults += [line.strip() for line in log if "IMPORT FAILED" in line and "custom_nodes" in line]
    return len(found)


def run_examples(host: Host, outcome: Outcome) -> None:
    for picture in (REPOSITORY / "example_workflows").glob("*.png"):
        host.client.upload_image(picture)
    for name, prompt in read_workflows(REPOSITORY).items():
        try:
            outcome.clips[name] = run(host, with_few_steps(prompt), host.base / name)
        except RuntimeError as error:
            outcome.faults.append(str(error))


def with_few_steps(prompt: Prompt) -> Prompt:
    shortened = copy.deepcopy(prompt)
    for node in shortened.values():
        if node["class_type"] in SAMPLERS:
            node["inputs"]["steps"] = STEPS
    return shortened


def compare(outcome: Outcome, known: Outcome) -> None:
    """Note every example whose latents or frames are not those of the tested ComfyUI, to the last bit."""
    for name, clips in outcome.clips.items():
        expected = known.clips.get(name, {})
        apart = {
            key: relative_change(expected[key], clip) if key in expected else float("inf")
            for key, clip in clips.items()
            if key not in expected or not torch.equal(expected[key], clip)
        }
        if apart or not clips:
            outcome.faults.append(f"{name}: latents or frames differ from those of {known.name}, relative: {apart}")


if __name__ == "__main__":
    main()
