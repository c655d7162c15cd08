"""Sort the tensors of a LoRA file: the factors of each layer, weights of the model beside them, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...errors import SVDError
from ..header import Header, TensorRef
from ..inventory import Shape
from ..names import unet_map_for_official_names
from .names import BASE_WORDS, Role, find_weight, is_base, is_other_dora, split_name, strip_prefixes, weight_names

Factors = dict[Role, TensorRef]
Adapters = dict[str, Factors]
"""The factors of one layer, by the name of the adapter; most files have one, without a name."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a LoRA file."""

    layers: dict[str, Adapters]  # by the path of the layer
    base: tuple[str, ...]  # weights of the model, in a file saved with the adapter inside
    unread: tuple[str, ...]


def sort_tensors(header: Header, shapes: Mapping[str, Shape]) -> Contents:
    """Raises SVDError for a DoRA whose norms are not counted as peft counts them."""
    layers: dict[str, Adapters] = {}
    rest: list[str] = []
    for name, ref in header.tensors.items():
        if is_other_dora(name):
            raise SVDError(
                f"{header.path.name} is a DoRA of another trainer than peft (it has {name}), which only SVD LoRA in "
                f"ComfyUI reads: use a plain LoRA."
            )
        factor = split_name(name)
        if factor is None:
            rest.append(name)
        else:
            layers.setdefault(factor.path, {}).setdefault(factor.adapter, {})[factor.role] = ref
    unread: list[str] = []
    for path, adapters in layers.items():
        unread += _complete(adapters)
        layers[path] = adapters
    is_weight = _weight_test(shapes) if any(map(is_base, rest)) else lambda _: False
    base = tuple(name for name in rest if is_weight(name))
    return Contents(layers, base, (*unread, *(name for name in rest if not is_weight(name))))


def match_layers(layers: Mapping[str, Adapters], shapes: Mapping[str, Shape]) -> tuple[dict[str, str], list[str]]:
    """The path of each weight that the file changes, and the paths that are left over."""
    weights = weight_names(shapes)
    paths: dict[str, str] = {}
    unmatched: list[str] = []
    for path, adapters in layers.items():
        weight = find_weight(path, weights)
        if weight is None or weight in paths or not all(map(_has_both, adapters.values())):
            unmatched.append(path)
        else:
            paths[weight] = path
    return paths, unmatched


def _complete(adapters: Adapters) -> list[str]:
    """Give each adapter the alpha that is stored without a name, and take out those that lack a factor.

    Returns the names of what was taken out. A layer without any whole adapter stays as it is.
    """
    shared = adapters.get("", {})
    if set(shared) == {"alpha"} and len(adapters) > 1:
        del adapters[""]
        for factors in adapters.values():
            factors.setdefault("alpha", shared["alpha"])
    broken = [adapter for adapter, factors in adapters.items() if not _has_both(factors)]
    if len(broken) == len(adapters):
        return []
    return [ref.name for adapter in broken for ref in adapters.pop(adapter).values()]


def _has_both(factors: Factors) -> bool:
    return {"down", "up"} <= set(factors)


def _weight_test(shapes: Mapping[str, Shape]) -> Callable[[str], bool]:
    """A test whether a name is that of one of the UNet's own weights."""
    names = unet_map_for_official_names(shapes)

    def is_weight(name: str) -> bool:
        for word in BASE_WORDS:
            name = name.replace(word, ".")
        path = strip_prefixes(name)
        return (names.to_official(path) or path) in shapes

    return is_weight
