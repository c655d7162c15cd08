"""Take off what training puts around the names of tensors, so that readers see the names of the model itself.

torch.compile, DDP, FSDP, DeepSpeed and Lightning each add a word to the names of what they wrap. A trainer that holds
the model as an attribute puts that attribute's name in front of all. An average of the weights over the training (EMA)
is saved beside them, or instead of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

from ..config import UNetConfig
from .inventory import UNET_PREFIX, unet_shapes

T = TypeVar("T")

# --- words of wrappers, anywhere in a name -----------------------------------------------------------------------

_WRAPPERS = re.compile(
    r"(?:^|(?<=[._]))_(?:orig_mod|forward_module|fsdp_wrapped_module|checkpoint_wrapped_module)[._]"
    r"|(?:^|(?<=\.))(?:module|state_dict)\."
    r"|(?<=^lora_unet_)module_"  # kohya's scripts write underscores for dots
)


def drop_wrappers(tensors: Mapping[str, T]) -> dict[str, T]:
    """The tensors under their names without words of wrappers. A name that is taken keeps its words."""
    plain = {name: tensor for name, tensor in tensors.items() if not _WRAPPERS.search(name)}
    for name, tensor in tensors.items():
        if name not in plain:
            short = _WRAPPERS.sub("", name)
            plain[name if short in plain else short] = tensor
    return plain


# --- what stands in front of the UNet ----------------------------------------------------------------------------

UNET_PREFIXES = (UNET_PREFIX, "diffusion_model.", "unet.", "")
# Two tensors of every UNet; the second one is what its copy in a ControlNet lacks.
_UNET_MARKS = (("input_blocks.0.0.weight", "out.2.weight"), ("time_embedding.linear_1.weight", "conv_norm_out.weight"))
_AVERAGE = re.compile(r"(^|[._])ema([._]|$)")
_EMA = "model_ema.diffusion_model"  # sgm names the averages without dots


def unwrap_unet(tensors: Mapping[str, T]) -> tuple[Mapping[str, T], list[str]]:
    """The tensors with the UNet under a prefix that `find_unet` knows, and sentences on what was chosen.

    What a trainer puts in front of the UNet goes from all names that begin with it.
    """
    roots = find_roots(tensors)
    averages = any(_EMA in name for name in tensors)
    if not roots and averages:
        return _name_averages(tensors), ["holds the averages (EMA) of the UNet's weights alone, and they are used"]
    notes = ["holds averages (EMA) beside the weights, and they are left out"] if averages else []
    root = _choose_root(roots)
    if root is None:
        return tensors, notes
    others = [other for other in roots if other != root]
    if others:
        notes.append(f"holds a second UNet under {others[0]}, and it is left out")
    elif _AVERAGE.search(root):
        notes.append(f"holds the averages (EMA) of the UNet's weights alone, under {root}, and they are used")
    if not root:
        return tensors, notes
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(root)}
    return rest | {name[len(root) :]: tensor for name, tensor in tensors.items() if name.startswith(root)}, notes


def find_roots(tensors: Mapping[str, T]) -> list[str]:
    """What stands in front of each UNet, without the prefixes that belong to a layout."""
    roots: dict[str, None] = {}
    for name in tensors:
        for mark, second in _UNET_MARKS:
            prefix = name.removesuffix(mark)
            if prefix != name and prefix + second in tensors and (not prefix or prefix.endswith(".")):
                roots[_cut_known(prefix)] = None
    return list(roots)


def _cut_known(prefix: str) -> str:
    known = (each for each in UNET_PREFIXES if f".{prefix}".endswith(f".{each}"))
    return prefix.removesuffix(next(known, ""))


def _choose_root(roots: list[str]) -> str | None:
    """The UNet to use: one as in the layouts, or else the only one that is no average; None if it is open."""
    if "" in roots:
        return ""
    trained = [root for root in roots if not _AVERAGE.search(root)]
    candidates = trained or roots
    return candidates[0] if len(candidates) == 1 else None


def _name_averages(tensors: Mapping[str, T]) -> dict[str, T]:
    named: dict[str, T] = {}
    for name, tensor in tensors.items():
        _, found, joined = name.partition(_EMA)
        if found:
            named[UNET_PREFIX + (_put_dots(joined) or joined)] = tensor
        else:
            named[name] = tensor
    return named


# --- names without dots ------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(?:(\d+)\.)?(\d)\.(.+)")
_JOINED_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)(\d*)(\d)(\D.*)")


def _put_dots(joined: str) -> str | None:
    """The official name behind one that was written without its dots; None for one that is unknown."""
    found = _JOINED_BLOCK.fullmatch(joined)
    if found is None:
        return _joined_names().get(joined)
    *path, rest = found.groups()
    leaf = _joined_names().get(rest)
    return None if leaf is None else ".".join([*filter(None, path), leaf])


@cache
def _joined_names() -> dict[str, str]:
    """Names within a block, or outside of all blocks, by their spelling without dots."""
    return {leaf.replace(".", ""): leaf for leaf in map(_leaf_of, unet_shapes(UNetConfig()))}


def _leaf_of(name: str) -> str:
    found = _BLOCK.fullmatch(name)
    return found[4] if found else name
