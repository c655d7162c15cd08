"""Keeps one sampling run within the memory there is, also where that turns out to be less than planned."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor

from ..config import UNetConfig
from ..errors import SVDError
from ..models.split import Split
from .activations import UNetCall
from .device import is_out_of_memory, release_cached_memory
from .sampling_plan import SamplingPlan, plan_sampling

logger = logging.getLogger(__name__)


class SamplingMemory:
    """The memory of one sampling run: plans each shape once, steps down where memory runs out after all."""

    def __init__(
        self,
        choice: str,
        free: Callable[[], int | None],
        is_oom: Callable[[Exception], bool] = is_out_of_memory,
        release: Callable[[], None] = release_cached_memory,
        limit: int | None = None,
        log_level: int = logging.INFO,
    ) -> None:
        """free: bytes for activations right now. limit: see `plan_sampling`. is_oom, release: a host has its own."""
        self.choice, self.free, self.limit, self.log_level = choice, free, limit, log_level
        self.is_oom, self.release = is_oom, release
        self.plans: dict[tuple[UNetConfig, UNetCall], SamplingPlan] = {}
        self.together: dict[tuple[UNetConfig, UNetCall], bool] = {}
        self.said: set[str] = set()

    def plan(self, config: UNetConfig, call: UNetCall) -> SamplingPlan:
        """The plan for a shape. Raises SVDError where it cannot fit."""
        if (config, call) not in self.plans:
            plan = self.plans[config, call] = plan_sampling(config, call, self.free(), self.choice, self.limit)
            self.say_once(f"sampling: {plan}")
        return self.plans[config, call]

    def clips_at_once(self, config: UNetConfig, call: UNetCall) -> int:
        """All clips of the call where that needs no split, else one: the batch saves time, but memory comes first."""
        if (config, call) not in self.together:
            try:
                plan = plan_sampling(config, call, self.free(), self.choice, self.limit)
            except SVDError:
                self.together[config, call] = False
            else:
                self.together[config, call] = plan.split is None
        return call.clips if self.together[config, call] else 1

    def run(self, config: UNetConfig, call: UNetCall, evaluate: Callable[[Split | None], Tensor]) -> Tensor:
        """What `evaluate` returns under the plan; where memory runs out, it is called again with a smaller split."""
        plan = self.plan(config, call)
        while (result := self._attempt(plan, evaluate)) is None:
            self.release()
            plan = self.plans[config, call] = plan.smaller()
            logger.warning("Memory ran out; going on with %s. The result is the same.", plan)
        return result

    def say_once(self, line: str) -> None:
        """Log a line, unless the run has said it before."""
        if line not in self.said:
            self.said.add(line)
            logger.log(self.log_level, line)

    def _attempt(self, plan: SamplingPlan, evaluate: Callable[[Split | None], Tensor]) -> Tensor | None:
        """None where memory ran out: by then the error, which holds the tensors of its frames, is gone."""
        try:
            return evaluate(plan.split)
        except Exception as error:
            if len(plan.splits) == 1 or not self.is_oom(error):
                raise
        return None
