"""Muon (Jordan et al. 2024): orthogonalised momentum. Adam needs several times as many steps.

Matrices of one shape are orthogonalised together: a small network has hundreds, and one at a time they would cost more
than the network itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the published quintic
NEWTON_SCHULZ_STEPS = 5
RMS = 0.2  # of an update at learning rate 1: that of Adam (Liu et al. 2025), so that both take one learning rate


class Muon(torch.optim.Optimizer):
    """For matrices and convolutions, which count as matrices of c_out rows."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.flatten(1).shape].append(parameter)
            for alike in by_shape.values():
                self._update(alike, group["lr"], group["momentum"])

    def _update(self, parameters: list[nn.Parameter], lr: float, momentum: float) -> None:
        ahead = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            buffer = state["momentum"]
            buffer.lerp_(gradient, 1.0 - momentum)
            ahead.append(torch.lerp(gradient, buffer, momentum).flatten(1))  # Nesterov
        updates = orthogonal(torch.stack(ahead))  # k m n
        scale = RMS * max(updates.shape[1:]) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.sub_(update.view_as(parameter), alpha=lr * scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices with singular values near 1, k m n, by Newton and Schulz's iteration."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrices else x.mT
