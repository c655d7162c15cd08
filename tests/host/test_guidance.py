"""Guidance frame by frame, exact at every setting.

One step from pure noise to 0 leaves the guided x0 itself, which is linear in the scale of each frame.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from graphs import Clip, Source, build, relative_error, run_and_load

from tools.client import Client
from tools.host import Host
from tools.workflow import with_inputs

CLIP = Clip(steps=1, frames=5)
Guided = Callable[[float, float, str], torch.Tensor]


@pytest.fixture(scope="module")
def guided(client: Client, host: Host, source: Source) -> Guided:
    def run(min_cfg: float, max_cfg: float, kind: str) -> torch.Tensor:
        prompt = build(source, CLIP, name="guidance")
        prompt = with_inputs(prompt, SVD_Sampler={"min_cfg": min_cfg, "max_cfg": max_cfg, "guidance": kind})
        return run_and_load(client, host.output, prompt)["latent"]

    return run


@pytest.fixture(scope="module")
def branches(guided: Guided) -> tuple[torch.Tensor, torch.Tensor]:
    """Unconditional and conditional x0; the host leaves the unconditional branch out of the second."""
    uncond, cond = guided(0.0, 0.0, "constant"), guided(1.0, 1.0, "linear")
    assert relative_error(uncond, cond) > 0.05
    return uncond, cond


@pytest.mark.parametrize(
    ("min_cfg", "max_cfg", "kind", "scale"),
    [
        (1.0, 3.0, "linear", [1.0, 1.5, 2.0, 2.5, 3.0]),
        (3.0, 1.0, "linear", [3.0, 2.5, 2.0, 1.5, 1.0]),
        (0.5, 1.0, "linear", [0.5, 0.625, 0.75, 0.875, 1.0]),
        (1.0, 2.0, "triangle", [1.0, 1.5, 2.0, 1.5, 1.0]),
        (1.0, 2.0, "constant", [2.0] * 5),
        (5.0, 1.0, "constant", [1.0] * 5),
    ],
)
def test_every_frame_has_its_own_scale(
    guided: Guided,
    branches: tuple[torch.Tensor, torch.Tensor],
    min_cfg: float,
    max_cfg: float,
    kind: str,
    scale: list[float],
) -> None:
    uncond, cond = branches
    wanted = uncond + torch.tensor(scale)[:, None, None, None] * (cond - uncond)
    assert relative_error(guided(min_cfg, max_cfg, kind), wanted) <= 1e-4
