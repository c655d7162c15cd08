"""Fixtures of the comparisons with other implementations, and the table of figures at the end of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from .figures import Figures
from .host_inputs import run_host
from .models import Models, image_decoder_models, video_models

# Everything compared is made here: a look at a model hub would only be slow, or fail.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

FIGURES = pytest.StashKey[Figures]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, None)
    if figures and figures.rows:
        terminalreporter.section("relative L2 errors against other implementations, fp32")
        for line in figures.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    return request.config.stash.setdefault(FIGURES, Figures())


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
def one_thread_no_grad() -> Iterator[None]:
    """One thread: sums in the same order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)
