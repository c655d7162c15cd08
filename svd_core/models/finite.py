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


def check_finite(
    result: Tensor, what: str, network: nn.Module, title: str, dtype: torch.dtype, with_loras: bool = False
) -> None:
    """Raises SVDError, with the cause, if a network's result is not finite.

    what: the result, for the message ("The latents of the clip"); title: the network. dtype: of the computation.
    with_loras: whether LoRAs change the weights. The cause is looked for on failure only: in the weights, which may be
    damaged, and in the range of 16 bits.
    """
    if not is_finite(result):
        or_loras = ", or leave the LoRAs out" if with_loras else ""
        raise SVDError(f"{what} hold NaN or infinity, {_explain(network, title, dtype)}{or_loras}.")


def check_latents_finite(latents: Tensor) -> None:
    """Raises SVDError for latents that would decode to black. Their model is not known here."""
    if not is_finite(latents):
        raise SVDError(
            "The latents to decode hold NaN or infinity, so the sampling overflowed or its model is damaged: "
            "choose bf16 or fp32 weights, or another checkpoint."
        )


def _explain(network: nn.Module, title: str, dtype: torch.dtype) -> str:
    """The cause, and what to do."""
    name, parameter = find_non_finite(network) or ("", None)
    if parameter is None and dtype == torch.float16:
        return f"as this {title} gives numbers too large for fp16: choose bf16 or fp32"
    if parameter is None:
        return f"though the weights of the {title} are finite: use settings and inputs in their usual range"
    if parameter.dtype == torch.float16 and not parameter.isnan().any():
        return f"as the weights of the {title} do in {name}, for which fp16 may be too small: choose bf16 or fp32"
    return f"as the weights of the {title} do in {name}, so the file is damaged: download it again or pick another"


def find_non_finite(network: nn.Module) -> tuple[str, Tensor] | None:
    """The first parameter that holds NaN or infinity, with its name; None without one."""
    parameters = network.named_parameters()
    return next(((name, parameter) for name, parameter in parameters if not is_finite(parameter)), None)
