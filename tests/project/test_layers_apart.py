"""The core stands alone: it imports nothing of the host, and all of its own imports are relative."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview", "nodes", "server"}
OURS = {"svd_core", "training", "tools"}


def absolute_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules("svd_core"), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_knows_no_host(path: Path) -> None:
    assert not set(absolute_imports(path)) & (HOST | OURS)


@pytest.mark.parametrize("path", modules("nodes"), ids=lambda path: str(path.relative_to(ROOT)))
def test_pack_imports_itself_relatively(path: Path) -> None:
    assert not set(absolute_imports(path)) & (OURS | {"nodes"})
