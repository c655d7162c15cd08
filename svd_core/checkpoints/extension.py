"""ExVideo (Duan et al. 2024), an extension of SVD-XT to 128 frames: a file to lay over a checkpoint.

It replaces the temporal transformer blocks and adds trained positions; the rest comes from the checkpoint. Its tensors
are named after the flat list of blocks into which DiffSynth takes the UNet apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..config import UNetConfig
from ..errors import SVDError
from .entries import Entries, keep
from .header import Header, check_numbers, read_header
from .inventory import unet_shapes
from .load import Checkpoint
from .releases import EXVIDEO

# After the block's number in the file, and after the transformer's name in our UNet.
_NAMES = {
    "positional_embedding.embeddings": "time_positions.table.weight",
    "positional_conv.": "time_positions.conv.",
    "positional_embedding_proj.": "time_pos_embed.",
    "norm_in.": "time_stack.0.norm_in.",
    "act_fn_in.": "time_stack.0.ff_in.net.0.",
    "ff_in.": "time_stack.0.ff_in.net.2.",
    "norm1.": "time_stack.0.norm1.",
    "attn1.to_out.": "time_stack.0.attn1.to_out.0.",
    "attn1.": "time_stack.0.attn1.",
    "norm2.": "time_stack.0.norm2.",
    "attn2.to_out.": "time_stack.0.attn2.to_out.0.",
    "attn2.": "time_stack.0.attn2.",
    "norm_out.": "time_stack.0.norm3.",
    "act_fn_out.": "time_stack.0.ff.net.0.",
    "ff_out.": "time_stack.0.ff.net.2.",
}
_TABLE = ".positional_embedding.embeddings"
_REMEDY = "choose ExVideo-SVD-128f-v1's model.fp16.safetensors, or leave the extension out"


def extend(checkpoint: Checkpoint, path: str | Path) -> Checkpoint:
    """Lay the extension at `path` over the checkpoint's UNet; reads headers only.

    Raises SVDError for a file that does not hold exactly the extension of this UNet.
    """
    header = read_header(path)
    config = extended_config(checkpoint.unet, header, checkpoint.name)
    names = extension_names(config)
    entries: Entries = {ours: keep(header.tensors[theirs]) for theirs, ours in names.items()}
    return replace(
        checkpoint,
        config=replace(checkpoint.config, unet=config),
        parts=checkpoint.parts | {"unet": {**checkpoint.parts["unet"], **entries}},
        release=EXVIDEO,
        num_frames=config.num_positions,
    )


def is_extension(header: Header) -> bool:
    """True if a file looks like an extension; `extended_config` checks it."""
    return any(name.endswith(_TABLE) for name in header.tensors)


def extended_config(config: UNetConfig, header: Header, checkpoint: str) -> UNetConfig:
    """The UNet's configuration with the extension. checkpoint: its name, for errors.

    Raises SVDError for a file that does not hold exactly the extension of this UNet.
    """
    config = replace(config, num_positions=_count_positions(header))
    _check_tensors(header, checkpoint, extension_names(config), unet_shapes(config))
    check_numbers(header.tensors.values())
    return config


def extension_names(config: UNetConfig) -> dict[str, str]:
    """The names of an extension's tensors, each with the name of our parameter."""
    blocks = dict(_temporal_blocks(config))
    names = {}
    for name in unet_shapes(config):
        for block in blocks:
            theirs = _rename_leaf(name.removeprefix(f"{block}.")) if name.startswith(f"{block}.") else None
            if theirs:
                names[f"blocks.{blocks[block]}.{theirs}"] = name
    return names


def _rename_leaf(leaf: str) -> str | None:
    """The extension's name of a transformer's parameter; None if it has none."""
    found = [(theirs, ours) for theirs, ours in _NAMES.items() if leaf.startswith(ours)]
    if not found:
        return None
    theirs, ours = max(found, key=lambda pair: len(pair[1]))
    return theirs + leaf.removeprefix(ours)


def _temporal_blocks(c: UNetConfig) -> Iterator[tuple[str, int]]:
    """Our transformers' names, and the number of each one's temporal block in the flat list.

    A residual block is 4 entries there, a transformer 4 as well, its temporal block the third. On the way down and in
    the middle's first, one more keeps the result; on the way up one fetches a kept result before each residual block,
    and one keeps what goes into a transformer.
    """
    at, index = 0, 1
    levels = list(enumerate(c.attention_levels))
    for level, attends in levels:
        for _ in range(c.num_res_blocks):
            if attends:
                yield f"input_blocks.{index}.1", at + 7
            at, index = at + (10 if attends else 5), index + 1
        if level < len(levels) - 1:
            at, index = at + 2, index + 1
    yield "middle_block.1", at + 7
    at, index = at + 13, 0
    for level, attends in reversed(levels):
        for _ in range(c.num_res_blocks + 1):
            if attends:
                yield f"output_blocks.{index}.1", at + 8
            at, index = at + (10 if attends else 5), index + 1
        if level > 0:
            at += 1


def _count_positions(header: Header) -> int:
    for name, ref in header.tensors.items():
        if name.endswith(_TABLE) and len(ref.shape) == 2 and ref.nbytes:
            return ref.shape[0]
    raise SVDError(f"{header.path.name} is not an ExVideo extension, it has no trained frame positions: {_REMEDY}.")


def _check_tensors(header: Header, checkpoint: str, names: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> None:
    name, found = header.path.name, header.tensors
    missing = [theirs for theirs in names if theirs not in found]
    if missing:
        raise SVDError(
            f"{name} lacks {len(missing)} of the {len(names)} tensors of an ExVideo extension of {checkpoint} "
            f"(such as {missing[0]}): {_REMEDY}."
        )
    extra = [theirs for theirs in found if theirs not in names]
    if extra:
        raise SVDError(
            f"{name} has {len(extra)} tensors that no ExVideo extension of {checkpoint} has (such as {extra[0]}): "
            f"{_REMEDY}."
        )
    for theirs, ours in names.items():
        if found[theirs].shape != shapes[ours]:
            sizes = f"shape {list(found[theirs].shape)} where {checkpoint} needs {list(shapes[ours])}"
            raise SVDError(f"{name} does not fit, its {theirs} has the {sizes}: {_REMEDY}.")
