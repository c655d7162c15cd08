"""Results that are not finite: found once, after a stage, and only then explained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import SVDError


def is_finite(values: Tensor) -> bool:
    """True if no value is NaN or infinite. One pass without copies, and one wait for the device."""
    if not values.numel():
        return True
    values = values.float() if values.itemsize == 1 else values  # torch compares no eight bits
    low, high = values.detach().aminmax()
    return math.isfinite(float(low)) and math.isfinite(float(high))


def check_finite(result: Tensor, what: str, network: nn.Module, title: str, dtype: torch.dtype) -> None:
    """Raises SVDError, with the cause, if a network's result is not finite.

    what: the result, for the message ("The clip's latents"); title: the network. dtype: of the computation. The cause
    is looked for on failure only: in the weights, which may be damaged, and in the range of 16 bits.
    """
    if not is_finite(result):
        raise SVDError(f"{what} are not finite numbers{_find_cause(network, title, dtype)}.")


def _find_cause(network: nn.Module, title: str, dtype: torch.dtype) -> str:
    damaged = find_non_finite(network)
    if damaged is None and dtype == torch.float16:
        return f", which the {title} gives where fp16 overflows: choose bf16 or fp32"
    if damaged is None:
        return f", though the weights of the {title} are: use usual settings, or another checkpoint"
    name, parameter = damaged
    if parameter.dtype == torch.float16 and not parameter.isnan().any():
        return (
            f", because the weights of the {title} are infinite in {name}: choose bf16 or fp32, which hold larger "
            f"numbers than fp16, and if that does not help, download the checkpoint again"
        )
    damage = "the file is damaged, download it again or pick another"
    return f", because the weights of the {title} are not in {name}: {damage}"


def find_non_finite(network: nn.Module) -> tuple[str, Tensor] | None:
    """The first parameter that holds NaN or infinity, with its name; None without one."""
    return next(((name, parameter) for name, parameter in network.named_parameters() if not is_finite(parameter)), None)
