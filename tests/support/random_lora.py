"""LoRAs of random factors, written under every kind of name such files come with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from svd_core.checkpoints.inventory import Shape
from svd_core.checkpoints.names import NameMap, unet_map_for_official_names

Factors = tuple[Tensor, Tensor]
"""down (r i *kernel) and up (o r, with ones behind it for a convolution)."""


def _dotted(start: str, down: str, up: str) -> Callable[[str], tuple[str, str]]:
    return lambda path: (f"{start}{path}.{down}.weight", f"{start}{path}.{up}.weight")


def _kohya(path: str) -> tuple[str, str]:
    return _dotted("lora_unet_", "lora_down", "lora_up")(path.replace(".", "_"))


def _processor(path: str) -> tuple[str, str]:
    """Names of saved attention processors; other layers have the names of diffusers."""
    owner, found, layer = path.rpartition(".to_")
    if not found:
        return _dotted("", "lora.down", "lora.up")(path)
    start = f"{owner}.processor.to_{layer.removesuffix('.0')}_lora"
    return f"{start}.down.weight", f"{start}.up.weight"


DIFFUSERS_LAYOUTS = {
    "peft": _dotted("base_model.model.", "lora_A", "lora_B"),
    "peft of a pipeline": _dotted("unet.", "lora_A", "lora_B"),
    "peft without a prefix": _dotted("", "lora_A", "lora_B"),
    "peft in a pipeline": _dotted("unet.base_model.model.", "lora_A", "lora_B"),
    "peft with its adapter": _dotted("base_model.model.", "lora_A.default", "lora_B.default"),
    "diffusers": _dotted("unet.", "lora.down", "lora.up"),
    "diffusers processors": _processor,
    "kohya": _kohya,
}
OFFICIAL_LAYOUTS = {
    "official": _dotted("diffusion_model.", "lora_down", "lora_up"),
    "official in full": _dotted("model.diffusion_model.", "lora_A", "lora_B"),
    "official without a prefix": _dotted("", "lora_down", "lora_up"),
    "kohya official": _kohya,
}
LAYOUTS = (*DIFFUSERS_LAYOUTS, *OFFICIAL_LAYOUTS)


def random_factors(
    shapes: Mapping[str, Shape], weights: Iterable[str] | None = None, rank: int = 2, seed: int = 0, size: float = 0.3
) -> dict[str, Factors]:
    """Factors for the named weights, by default for every matrix and convolution.

    size: of the change, as a share of what random weights of that shape have.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = [name for name, shape in shapes.items() if len(shape) > 1] if weights is None else list(weights)
    factors: dict[str, Factors] = {}
    for name in chosen:
        c_out, *rest = shapes[name]
        down = torch.randn(rank, *rest, generator=generator) / math.sqrt(math.prod(rest))
        up = torch.randn(c_out, rank, *(1 for _ in rest[1:]), generator=generator) * size / math.sqrt(rank)
        factors[name] = down, up
    return factors


def write_lora(
    path: Path,
    factors: Mapping[str, Factors],
    shapes: Mapping[str, Shape],
    layout: str,
    alpha: float | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """shapes: of the whole UNet, official names. alpha: stored beside every pair of factors, if any."""
    names = unet_map_for_official_names(shapes)
    tensors: dict[str, Tensor] = {}
    for weight, (down, up) in factors.items():
        down_name, up_name = tensor_names(weight, names, layout)
        tensors |= {down_name: down, up_name: up}
        if alpha is not None:
            tensors[f"{_path_of(down_name)}.alpha"] = torch.tensor(alpha)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)
    return path


def tensor_names(weight: str, names: NameMap, layout: str) -> tuple[str, str]:
    """Names of the factors of a weight."""
    official = weight.removesuffix(".weight")
    if layout in OFFICIAL_LAYOUTS:
        return OFFICIAL_LAYOUTS[layout](official)
    return DIFFUSERS_LAYOUTS[layout](names.to_other(official) or official)


def _path_of(down_name: str) -> str:
    ends = (".lora_A.default.weight", ".lora_A.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight")
    return next(down_name.removesuffix(end) for end in ends if down_name.endswith(end))


OTHER_KINDS = ("loha", "lokr", "glora", "oft", "boft", "dora", "diff")


def write_other_kind(
    path: Path, kind: str, shapes: Mapping[str, Shape], weights: Iterable[str], layout: str, seed: int = 0
) -> Path:
    """A file of one of OTHER_KINDS, with LyCORIS' names of its tensors behind the names of layers in `layout`."""
    generator = torch.Generator().manual_seed(seed)
    names = unet_map_for_official_names(shapes)
    tensors: dict[str, Tensor] = {}
    for weight in weights:
        layer = _path_of(tensor_names(weight, names, layout)[0])
        made = _other_kind(kind, shapes[weight], generator)
        tensors |= {f"{layer}.{end}": tensor for end, tensor in made.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def _other_kind(kind: str, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    """Tensors of one layer, by their ends. shape: of its weight, o i *kernel."""

    def random(*size: int, scale: float = 0.1) -> Tensor:
        return scale * torch.randn(*size, generator=generator)

    c_out, c_in, *kernel = shape
    numel_in, rank, alpha = math.prod(shape[1:]), 2, torch.tensor(1.0)
    if kind == "loha":
        pairs = {"hada_w1_a": (c_out, rank), "hada_w1_b": (rank, numel_in)}
        pairs |= {"hada_w2_a": (c_out, rank), "hada_w2_b": (rank, numel_in)}
        return {end: random(*size, scale=0.3) for end, size in pairs.items()} | {"alpha": alpha}
    if kind == "lokr":
        return {"lokr_w1": random(2, 2), "lokr_w2": random(c_out // 2, c_in // 2, *kernel), "alpha": alpha}
    if kind == "glora":
        ends = {"a1": (c_in, rank), "a2": (rank, c_in), "b1": (c_out, rank), "b2": (rank, numel_in)}
        return {f"{end}.weight": random(*size) for end, size in ends.items()} | {"alpha": alpha}
    if kind == "oft":
        return {"oft_blocks": random(c_out // 4, 4, 4)}
    if kind == "boft":
        return {"oft_blocks": random(1, c_out // 4, 4, 4), "alpha": torch.tensor(0.0)}
    if kind == "dora":
        ones = [1] * len(kernel)
        factors = {"lora_down.weight": random(rank, *shape[1:]), "lora_up.weight": random(c_out, rank, *ones)}
        return factors | {"dora_scale": 1.0 + random(c_out, 1, *ones).abs(), "alpha": alpha}
    return {"diff": random(*shape)}
