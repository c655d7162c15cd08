"""The host and the pack in a process of a test's own, without a server.

Importing the host parses the command line and picks a device, hence the process.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[2]
PACK = "pack_as_the_host_loads_it"
CPU = torch.device("cpu")


def start(comfyui: str) -> None:
    """From here on `comfy` and the pack, as PACK, can be imported, and random numbers are the same each time."""
    sys.path[0] = comfyui  # in place of the tests, whose modules have names that the host may have as well
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    _load_pack()
    torch.manual_seed(0)


def _load_pack() -> None:
    spec = importlib.util.spec_from_file_location(
        PACK, REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


def relative_error(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, L2."""
    return float((a - b).norm() / b.norm())
