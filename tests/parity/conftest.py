"""Fixtures of the comparisons with other implementations, and the table of figures at the end of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from .figures import FIGURE, Figures, table
from .host_inputs import run_host
from .models import Models, image_decoder_models, video_models

# Everything compared is made here: a look at a model hub would only be slow, or fail.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    calls = (report for report in reports if getattr(report, "when", None) == "call")
    rows = [row for report in calls for name, row in report.user_properties if name == FIGURE]
    if rows:
        terminalreporter.section("relative L2 errors against other implementations, fp32")
        for line in table(rows):
            terminalreporter.write_line(line)


@pytest.fixture
def figures(record_property: Callable[[str, Any], None]) -> Figures:
    return Figures(record_property)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return video_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def image_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return image_decoder_models(tmp_path_factory.mktemp("image-decoder"))


@pytest.fixture(scope="session")
def host(models: Models, image_models: Models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Answers of a real ComfyUI's own code, from one run of it."""
    return run_host(models, image_models, tmp_path_factory.mktemp("host"))


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield
