"""Errors against a reference, and the table of all errors of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FIGURE = "figure"  # the property's name; its value is (what, error, limit)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 error, accumulated in fp64; infinite where shapes differ or a value is not finite."""
    if ours.shape != theirs.shape or not (ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    reference = theirs.double()
    return float(torch.linalg.vector_norm(ours.double() - reference) / torch.linalg.vector_norm(reference))


@dataclass(frozen=True)
class Figures:
    """Keeps every figure as a property of the test's report, which reaches the process that prints the table."""

    record: Callable[[str, Any], None]

    def within(self, limit: float, what: str, ours: Tensor, theirs: Tensor) -> None:
        """Measure, keep the figure for the table, and assert that it is within the limit."""
        error = relative_error(ours, theirs)
        self.record(FIGURE, (what, error, limit))
        assert error <= limit, f"{what}: relative error {error:.2e} exceeds {limit:.0e}"


def table(rows: Sequence[tuple[str, float, float]]) -> list[str]:
    width = max(len(what) for what, _, _ in rows)
    return [f"{what:<{width}}  {error:8.2e}  (limit {limit:.0e})" for what, error, limit in rows]
