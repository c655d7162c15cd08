"""Import the pack the way the host does, but without a server, and say as JSON what came of it.

    python tests/support/import_pack.py COMFYUI [--without kornia av ...]

Prints `seconds` (of the pack alone: the host and torch are imported before the clock starts) and `object_info` (what
the host would answer for the pack's nodes). A process of its own each time: importing the host parses the command line,
and a second import would measure nothing. `--without` hides libraries from the pack, and leaves them to the host.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import logging
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PACK = "svd_nodes_pack"  # any name: the host makes one up from the folder
HOST_MODULES = ("torch", "nodes", "comfy_api.latest")  # `nodes` is the host's, which imports all the rest


class Hidden(MetaPathFinder):
    """Makes libraries look as if they were not installed."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("comfyui", type=Path)
    parser.add_argument("--without", nargs="*", default=[], metavar="LIBRARY")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        import_host(options.comfyui, Path(base))
        hide(options.without)
        start = time.perf_counter()
        extension = import_extension()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "object_info": asyncio.run(object_info(extension))}))


def import_host(comfyui: Path, base: Path) -> None:
    """Import everything that a running host imports before the packs."""
    sys.path[0] = str(comfyui)
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base)]
    logging.disable(logging.INFO)
    options = importlib.import_module("comfy.options")
    options.enable_args_parsing()
    for name in HOST_MODULES:
        importlib.import_module(name)


def hide(libraries: Collection[str]) -> None:
    """From here on these cannot be imported, not even where the host has done so already."""
    for name in [name for name in sys.modules if name.partition(".")[0] in libraries]:
        del sys.modules[name]
    sys.meta_path.insert(0, Hidden(libraries))


def import_extension() -> Any:
    """The object that `comfy_entrypoint` gives the host; all modules of the nodes are imported on the way."""
    folder = str(REPOSITORY)
    spec = importlib.util.spec_from_file_location(PACK, REPOSITORY / "__init__.py", submodule_search_locations=[folder])
    assert isinstance(spec, ModuleSpec) and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    return asyncio.run(module.comfy_entrypoint())


async def object_info(extension: Any) -> dict[str, Any]:
    nodes = await extension.get_node_list()
    return {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in nodes}


if __name__ == "__main__":
    main()
