"""The pack as ComfyUI of some version imports it: below the oldest supported one, a sentence and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from tools.comfyui import REPOSITORY, SDISTS

OLDEST = next(iter(SDISTS))
OLD, NEW = ("0.3.48", "0.9.9", "0.12.3", "0.16.2", "0.16.2-rc1"), (OLDEST, "0.16.4", "0.30.0", "v0.45.2", "1.0", "dev")


def import_pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack_of_some_host", REPOSITORY / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """A host that names this version; None for one that names none."""
    said = None if version is None else ModuleType("comfyui_version")
    if said is not None:
        said.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "comfyui_version", said)


@pytest.mark.parametrize("version", OLD)
def test_an_older_host_is_told_both_versions(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    with pytest.raises(ImportError) as refused:
        import_pack()
    assert str(refused.value) == f"SVD Nodes needs ComfyUI {OLDEST} or newer, and this is {version}: update ComfyUI."


@pytest.mark.parametrize("version", NEW)
def test_this_host_and_newer_ones_are_not_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    assert import_pack().OLDEST_COMFYUI == OLDEST


def test_a_host_from_before_it_named_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None)
    assert import_pack().OLDEST_COMFYUI == OLDEST  # no host at all: tools import this folder too
    monkeypatch.setitem(sys.modules, "folder_paths", ModuleType("folder_paths"))
    with pytest.raises(ImportError, match=f"needs ComfyUI {OLDEST} or newer, and this is a version before 0.4"):
        import_pack()
