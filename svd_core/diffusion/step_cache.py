"""Deep features that the UNet keeps from one evaluation to the next (DeepCache, Ma et al. 2023).

What the outermost blocks compute changes from step to step, what the deep ones hand up to them changes little. An
evaluation that recalls the deep features of an earlier one runs the outermost blocks alone.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from .run_constants import RunConstants
from .speed import SpeedMode

logger = logging.getLogger(__name__)

# Numbered blocks that always run, on the way down and on the way up: the first convolution and the last block. In the
# released models they take 9 % of the work; two of each would take 26 %, and make the error hardly smaller.
OUTER_BLOCKS = 1


@dataclass
class _Kept:
    noisy: Tensor  # the input of the full evaluation, (b t) 4 h w
    h: Tensor  # what its deep blocks gave, (b t) c h w
    uses: int = 0


class StepCache:
    """What one run keeps, and what it has computed once; leaving its `with` block, however that happens, empties it.

    Every set of guidance branches that is evaluated together has features of its own.
    """

    def __init__(self, mode: SpeedMode, branches: int = 2) -> None:
        """branches: of the guidance, all of which may have features at once; for the planning of memory."""
        self.mode, self.branches = mode, branches if mode.reuses else 0
        self.full = self.reused = 0  # evaluations
        self._kept: dict[Hashable, _Kept] = {}
        self._constants: defaultdict[Hashable, RunConstants] = defaultdict(RunConstants)
        self._guided = False
        self._said = False

    def __enter__(self) -> StepCache:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.clear()
        self._constants.clear()
        if error is not None or not self.mode.reuses or self._said:
            return
        if total := self.full + self.reused:
            logger.info("Deep features of earlier steps served in %d of %d evaluations.", self.reused, total)
        else:
            logger.info("No deep features were kept between steps: the network is compiled, or of another loader.")

    @property
    def is_empty(self) -> bool:
        return not self._kept

    def begin(self, guided: bool) -> None:
        """Before the branches of an evaluation. Where guidance sets in or ends all run in full, so that it makes no
        difference which of them run together."""
        if guided != self._guided:
            self.clear()
        self._guided = guided

    def features(self, branches: Hashable) -> Features | None:
        """For one evaluation; None where the mode keeps none."""
        return Features(self, branches) if self.mode.reuses else None

    def constants(self, branches: Hashable) -> RunConstants:
        """For all evaluations of these branches together."""
        return self._constants[branches]

    def stand_aside(self, why: str) -> None:
        """Let go of everything for evaluations that cannot use it, and say so once."""
        self.clear()
        if not self._said:
            self._said = True
            logger.info("No deep features are kept between steps, since %s.", why)

    def clear(self) -> None:
        self._kept.clear()

    def recall(self, branches: Hashable, noisy: Tensor) -> Tensor | None:
        """What is kept, where it may serve once more; else it is dropped, before what replaces it is computed."""
        kept = self._kept.pop(branches, None)
        if kept is None or kept.uses >= self.mode.reuses or relative_change(noisy, kept.noisy) > self.mode.change:
            self.full += 1
            return None
        kept.uses += 1
        self.reused += 1
        self._kept[branches] = kept
        return kept.h

    def keep(self, branches: Hashable, noisy: Tensor, h: Tensor) -> None:
        self._kept[branches] = _Kept(noisy, h)


class Features:
    """The part of a StepCache that one evaluation of the UNet sees. Repeated, for want of memory, it sees the same."""

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
