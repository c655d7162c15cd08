"""The budget of the fuzz tests: some hundred cases, always the same; with --thorough, thousands of new ones."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from .oracle import Hang

Fuzz = Callable[..., None]
counted: dict[str, int] = {}  # cases of each test, for the summary


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Calls `check` with so many values drawn from the strategy; `thorough_cases` with --thorough."""
    thorough = request.config.getoption("--thorough")

    def run(check: Callable[[Any], object], strategy: SearchStrategy[Any], cases: int, thorough_cases: int) -> None:
        name = request.node.name
        counted[name] = 0
        found: dict[tuple[str, ...], str] = {}

        def count_and_check(case: Any) -> None:
            counted[name] += 1
            if not thorough:
                check(case)
                return
            try:  # one failure must not hide the next
                check(case)
            except (Exception, Hang) as error:  # noqa: BLE001
                found.setdefault(*describe(error, case))

        settings(
            max_examples=thorough_cases if thorough else cases,
            derandomize=not thorough,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )(given(strategy)(count_and_check))()
        if found:
            pytest.fail("\n".join([f"{len(found)} different failures", *found.values()]), pytrace=False)

    return run


def describe(error: BaseException, case: Any) -> tuple[tuple[str, ...], str]:
    """What is the same for the same fault, and a line about it."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "svd_core" in frame.filename]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    kind = type(error).__name__
    same = (kind, place) if ours else (kind, str(error)[:40])
    return same, f"{kind} at {place}: {str(error)[:200]!r} with {shorten(case)}"


def shorten(case: Any) -> str:
    text = repr(case)
    return text if len(text) < 700 else f"{text[:500]} ... {text[-200:]}"


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what all cases read."""
    return tmp_path_factory.mktemp("fuzz")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if counted:
        told = ", ".join(f"{name} {count}" for name, count in counted.items())
        terminalreporter.write_line(f"fuzz: {sum(counted.values())} cases: {told}")
