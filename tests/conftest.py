"""Options and limits shared by all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-size", action="store_true", help="also build and run a full-size model (13 GB of memory)")
    parser.addoption("--thorough", action="store_true", help="32 scenes and thousands of fuzzed cases, not the first")
    parser.addoption("--packs", type=Path, help="a folder of other people's packs to run beside this one")
    parser.addoption("--swaps", type=Path, help="write what the swaps of nodes measure to this file")


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each process, as in the processes that tests start: a second one mostly spins for the first."""
    os.environ |= ONE_THREAD
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def logger_as_before() -> Iterator[None]:
    """The command line takes over the package's logger, as a program may; other tests read the log."""
    logger = logging.getLogger("svd_core")
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full-size"):
        return
    skip = pytest.mark.skip(reason="full size: run with --full-size (13 GB of memory, 5 GB of disk)")
    for item in items:
        if item.get_closest_marker("full_size"):
            item.add_marker(skip)
