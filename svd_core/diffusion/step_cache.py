"""Deep features that the UNet keeps from one evaluation to the next (DeepCache, Ma et al. 2023).

What the outermost blocks compute changes from step to step, what the deep ones hand up to them changes little. An
evaluation that recalls the deep features of an earlier one runs the outermost blocks alone.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from .speed import SpeedMode

logger = logging.getLogger(__name__)


@dataclass
class _Kept:
    noisy: Tensor  # the input of the full evaluation, (b t) 4 h w
    h: Tensor  # what its deep blocks gave, (b t) c h w
    uses: int = 0


class StepCache:
    """Deep features of one run. Leaving the `with` block, however that happens, empties it.

    Each set of guidance branches that is evaluated together has features of its own.
    """

    def __init__(self, mode: SpeedMode, branches: int = 2) -> None:
        """branches: number of guidance branches that may have features at once; memory is planned for them."""
        self.mode, self.branches = mode, branches if mode.reuses else 0
        self.full = self.reused = 0  # evaluations
        self._kept: dict[Hashable, _Kept] = {}
        self._guided = False
        self._said = False

    def __enter__(self) -> StepCache:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.clear()
        if error is not None or not self.mode.reuses or self._said:
            return
        if total := self.full + self.reused:
            logger.info("Deep features of earlier steps served in %d of %d evaluations.", self.reused, total)
        else:
            logger.info("No deep features were kept between steps: the network is compiled, or of another loader.")

    @property
    def is_empty(self) -> bool:
        return not self._kept

    def features(self, branches: Hashable, guided: bool = False) -> Features | None:
        """The deep features of one set of guidance branches, for one evaluation; None where the mode keeps none.

        guided: whether both branches are evaluated now. Where guidance sets in or ends, all features are dropped, so
        that the result does not depend on which branches run together.
        """
        if guided != self._guided:
            self.clear()
        self._guided = guided
        return Features(self, branches) if self.mode.reuses else None

    def disable(self, reason: str) -> None:
        """Drop everything for evaluations that cannot use it, and log the reason once."""
        self.clear()
        if not self._said:
            self._said = True
            logger.info("No deep features are kept between steps, since %s.", reason)

    def clear(self) -> None:
        self._kept.clear()

    def recall(self, branches: Hashable, noisy: Tensor) -> Tensor | None:
        """Features that may serve again; others are dropped, before their replacement is computed."""
        kept = self._kept.get(branches)  # still there if memory runs out in the comparison, which is then repeated
        if kept is None or kept.uses >= self.mode.reuses or relative_change(noisy, kept.noisy) > self.mode.change:
            self._kept.pop(branches, None)
            self.full += 1
            return None
        kept.uses += 1
        self.reused += 1
        return kept.h

    def keep(self, branches: Hashable, noisy: Tensor, h: Tensor) -> None:
        self._kept[branches] = _Kept(noisy, h)


class Features:
    """The network's view of a StepCache in one evaluation; one that is repeated, for want of memory, sees the same."""

    def __init__(self, cache: StepCache, branches: Hashable) -> None:
        self.cache, self.branches = cache, branches
        self._asked = False
        self._deep: Tensor | None = None

    def recall(self, noisy: Tensor) -> Tensor | None:
        """noisy: (b t) 4 h w, of this evaluation. Returns (b t) c h w, or None where all blocks are to run."""
        if not self._asked:
            self._asked, self._deep = True, self.cache.recall(self.branches, noisy)
        return self._deep

    def keep(self, noisy: Tensor, h: Tensor) -> None:
        self.cache.keep(self.branches, noisy, h)


def relative_change(now: Tensor, before: Tensor) -> float:
    """‖now - before‖ / ‖before‖; infinite for another shape."""
    if now.shape != before.shape:
        return float("inf")
    difference = (now.float() - before.float()).norm()
    return float(difference / before.float().norm().clamp_min(1e-12))
