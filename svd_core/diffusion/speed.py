"""Speed modes that trade exactness for time. All but "exact" change the clip; benchmarks measure how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import choose

Speed = Literal["exact", "balanced", "fastest"]
SPEEDS: tuple[Speed, ...] = get_args(Speed)


@dataclass(frozen=True)
class SpeedMode:
    """The work that a run leaves out.

    Guidance applies at noise levels of guide_above < sigma <= guide_up_to (Kynkäänniemi et al. 2024); at other levels
    the unconditional branch is not computed. The deep features of one evaluation serve `reuses` more (DeepCache, Ma et
    al. 2023), while the UNet's noisy input has changed by no more than `change`, relative to that evaluation's (L2).
    """

    guide_above: float = 0.0
    guide_up_to: float = math.inf
    reuses: int = 0
    change: float = 0.0

    def guides(self, sigma: Tensor | float) -> bool:
        return self.guide_above < float(sigma) <= self.guide_up_to

    def scale_at(self, sigma: Tensor | float, scale: Tensor) -> Tensor:
        """The guidance scale of every frame at a noise level, [t]: 1 outside the interval, which is no guidance."""
        return scale if self.limits_no_guidance or self.guides(sigma) else torch.ones_like(scale)

    @property
    def limits_no_guidance(self) -> bool:
        return self.guide_above <= 0.0 and math.isinf(self.guide_up_to)


# Chosen on the bundled model. Above sigma 50 the noise hides what guidance adds, below 0.1 the clip is settled. The
# limit of change decides more than the count: it lets features serve at the ends of the schedule, where the input stays
# almost what it was, and hardly where the clip takes shape.
MODES: dict[Speed, SpeedMode] = {
    "exact": SpeedMode(),
    "balanced": SpeedMode(guide_above=0.1, guide_up_to=50.0),
    "fastest": SpeedMode(guide_above=0.1, guide_up_to=50.0, reuses=4, change=0.1),
}


def speed_mode(name: str) -> SpeedMode:
    """Raises SVDError for an unknown name."""
    return MODES[choose("speed", name, SPEEDS)]
