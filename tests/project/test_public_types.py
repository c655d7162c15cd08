"""The types that users of the library see: py.typed is there, and a type checker knows every public name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import svd_core
from tools.comfyui import REPOSITORY

UNANNOTATED = "Type is missing type annotation"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """basedpyright's answer to --verifytypes, which finds torch and this folder through the first Python on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "basedpyright", "--verifytypes", "svd_core", "--ignoreexternal", "--outputjson"]
    env = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=env)
    return json.loads(answer.stdout)["typeCompleteness"]


def test_no_type_is_unknown(report: dict[str, Any]) -> None:
    assert report["exportedSymbolCounts"]["withKnownType"] > 500
    assert [s["name"] for s in report["symbols"] if not s["isTypeKnown"] and not s["isTypeAmbiguous"]] == []


def test_public_classes_have_annotated_attributes(report: dict[str, Any]) -> None:
    homes = [f"{getattr(svd_core, name).__module__}.{name}." for name in svd_core.__all__ if name[0].isupper()]
    inferred = [
        symbol["name"]
        for symbol in report["symbols"]
        if symbol["name"].startswith(tuple(homes))
        and any(UNANNOTATED in diagnostic["message"] for diagnostic in symbol["diagnostics"])
    ]
    assert inferred == []
