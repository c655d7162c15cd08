"""How far a result is from its reference, and the table of all such figures of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 error, accumulated in fp64; infinite where shapes differ or a value is not finite."""
    if ours.shape != theirs.shape or not (ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    reference = theirs.double()
    return float(torch.linalg.vector_norm(ours.double() - reference) / torch.linalg.vector_norm(reference))


@dataclass
class Figures:
    """Every figure measured so far, as (what, error, limit)."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)

    def within(self, limit: float, what: str, ours: Tensor, theirs: Tensor) -> None:
        """Measures, keeps the figure for the table and asserts that it is within the limit."""
        error = relative_error(ours, theirs)
        self.rows.append((what, error, limit))
        assert error <= limit, f"{what}: relative error {error:.2e} exceeds {limit:.0e}"

    def table(self) -> list[str]:
        width = max(len(what) for what, _, _ in self.rows)
        return [f"{what:<{width}}  {error:8.2e}  (limit {limit:.0e})" for what, error, limit in self.rows]
