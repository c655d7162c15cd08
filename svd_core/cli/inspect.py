"""Describe a checkpoint, a LoRA or an extension, and what it lacks, from its header alone.

Exit code 2, with the reason, for a file that cannot be used here.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import printable
from .options import name_dtype

if TYPE_CHECKING:
    from ..checkpoints import Checkpoint, Header
    from ..checkpoints.releases import Release


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors file, or a folder of diffusers")
    parser.add_argument("--hash", action="store_true", help="also print its SHA-256, which reads all of it")


def run(options: argparse.Namespace) -> int:
    from ..checkpoints import open_checkpoint, read_header
    from ..checkpoints.extension import is_extension
    from .records import hash_checkpoint, hash_file

    header = None if options.file.is_dir() else read_header(options.file)
    if header and _is_lora(header):
        lines, digest = _describe_lora(header), lambda: hash_file(header.path)
    elif header and is_extension(header):
        lines, digest = _describe_extension(header), lambda: hash_file(header.path)
    else:
        checkpoint = open_checkpoint(options.file)
        lines, digest = _describe_checkpoint(checkpoint), lambda: hash_checkpoint(checkpoint)
    if header and header.metadata:
        lines.append(("metadata", ", ".join(sorted(header.metadata))))
    if options.hash:
        lines += _describe_digest(digest())
    print("\n".join(printable(f"{name:<20}{text}") for name, text in lines))
    return 0


_Lines = list[tuple[str, str]]


def _describe_digest(digest: str) -> _Lines:
    """The SHA-256, and the release whose official file has it: this tells apart what no name does."""
    from ..checkpoints.releases import RELEASES

    titles = [release.title for release in RELEASES if release.sha256 and release.sha256 == digest]
    return [("SHA-256", digest), *(("official file of", title) for title in titles)]


def _describe_checkpoint(checkpoint: Checkpoint) -> _Lines:
    from ..checkpoints.infer import TITLES
    from ..checkpoints.releases import UNKNOWN
    from ..checkpoints.settings import PARTS

    release = checkpoint.release
    made_for = f"{checkpoint.num_frames} frames" if checkpoint.num_frames else f"{UNKNOWN.num_frames} frames, a guess"
    if release:
        made_for += f" of {release.width}x{release.height}"
    lines = [
        ("file", checkpoint.name),
        ("release", release.title if release else "unknown, neither by its name nor by its files"),
        ("licence of release", release.license if release else "unknown"),
        ("layout", checkpoint.layout),
        ("made for", made_for),
        ("sizes", f"multiples of {checkpoint.config.pixel_multiple} pixels"),
    ]
    lines += [(TITLES[part], _describe_part(checkpoint, part)) for part in PARTS]
    if checkpoint.guess:
        lines.append(("note", checkpoint.guess))
    if checkpoint.missing_parts:
        missing = " and ".join(TITLES[part] for part in checkpoint.missing_parts)
        lines.append(("to use it", f"add a companion that holds the {missing}"))
    return lines


def _describe_part(checkpoint: Checkpoint, part: str) -> str:
    if part in checkpoint.missing_parts:
        return "missing"
    entries = checkpoint.parameters_of(part).values()
    numbers = sum(math.prod(entry.shape) for entry in entries)
    size = numbers * checkpoint.dtype(part).itemsize
    text = f"{numbers:,} parameters, {name_dtype(checkpoint.dtype(part))}, {size / 1e9:.3g} GB"
    return f"{text}, {'temporal' if checkpoint.vae.temporal_decoder else 'image'} decoder" if part == "vae" else text


def _is_lora(header: Header) -> bool:
    from ..checkpoints.lora.names import is_factor

    return any(map(is_factor, header.tensors))


def _describe_lora(header: Header) -> _Lines:
    """Layers are matched to the released UNet. Raises SVDError for a LoRA of another model."""
    from ..checkpoints import unet_shapes
    from ..checkpoints.lora import read_lora
    from ..config import UNetConfig

    lora = read_lora(header, unet_shapes(UNetConfig()))
    layers = lora.layers.values()
    temporal = sum(".time_stack." in layer.weight for layer in layers)
    ranks = sorted({layer.rank for layer in layers})
    return [
        ("file", header.path.name),
        ("kind", "a LoRA of Stable Video Diffusion"),
        ("layers", f"{len(layers)} of {len(layers) + len(lora.unmatched)} match, {temporal} of them temporal"),
        ("rank", " and ".join(map(str, ranks[:3])) + (" and more" if len(ranks) > 3 else "")),
        ("stored in", name_dtype(next(iter(header.tensors.values())).dtype)),
    ]


def _describe_extension(header: Header) -> _Lines:
    """Raises SVDError for a file that does not extend the released UNet exactly."""
    from ..checkpoints.extension import extended_config
    from ..checkpoints.releases import EXVIDEO
    from ..config import UNetConfig

    config = extended_config(UNetConfig(), header, "svd_xt")
    tensors = header.tensors.values()
    numbers = sum(math.prod(ref.shape) for ref in tensors)
    return [
        ("file", header.path.name),
        ("kind", "an ExVideo extension of Stable Video Diffusion XT"),
        ("licence of release", EXVIDEO.license),
        ("made for", f"up to {config.num_positions} frames of {EXVIDEO.width}x{EXVIDEO.height}"),
        ("its authors' way", _format_options(EXVIDEO)),
        ("tensors", f"{len(tensors)}, {numbers:,} parameters, {name_dtype(next(iter(tensors)).dtype)}"),
        ("to use it", "animate --checkpoint svd_xt.safetensors --extension with this file"),
    ]


def _format_options(release: Release) -> str:
    """The settings of a release as options of `animate`."""
    return (
        f"--fps {release.fps} --noise-aug-strength {release.noise_aug_strength:g} "
        f"--min-cfg-scale {release.min_cfg_scale:g} --max-cfg-scale {release.max_cfg_scale:g} "
        f"--num-inference-steps {release.steps}"
    )
