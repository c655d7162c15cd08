"""Open a checkpoint, and fill a network from it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from ..errors import SVDError, printable
from .entries import Entries, Entry, Refs
from .find import describe_encoder, find_clip, find_unet, find_vae
from .header import check_numbers
from .identify import identify_other
from .infer import TITLES, check_complete, infer_clip, infer_unet, infer_vae
from .layouts import CheckpointFiles, read_files
from .release_names import describe_guess, guess_release
from .releases import DEMO, EXVIDEO, Release
from .settings import PARTS
from .stream import OpenFile, SafetensorsFile, stream

logger = logging.getLogger(__name__)

_FIND: dict[str, Callable[[Refs], Entries | None]] = {"unet": find_unet, "vae": find_vae, "clip": find_clip}


@dataclass(frozen=True)
class Checkpoint:
    """The headers of a checkpoint: what it holds, and how to read it. No weights are read until asked for."""

    path: Path
    layout: str
    config: ModelConfig
    release: Release | None
    num_frames: int | None  # trained length: stated in the files, or else the release's
    parts: dict[str, Entries] = field(repr=False)
    notes: tuple[str, ...] = ()  # sentences on what was chosen among several, and on what is unusual
    open_file: OpenFile = field(default=SafetensorsFile, repr=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def guess(self) -> str | None:
        """A sentence about defaults that neither the files nor their name decide; None if there are none."""
        return describe_guess(self.release, self.num_frames)

    @property
    def missing_parts(self) -> tuple[str, ...]:
        """The parts ("unet", "vae", "clip") that neither the file nor its companion holds."""
        return tuple(part for part in PARTS if part not in self.parts)

    def require(self, *parts: str) -> None:
        """Raises SVDError if one of the parts is missing."""
        missing = [TITLES[part] for part in parts if part not in self.parts]
        if missing:
            raise SVDError(
                f"{self.name} lacks the {' and the '.join(missing)}: "
                f"pick a complete SVD checkpoint, or add a second file that holds what is missing."
            )

    @property
    def unet(self) -> UNetConfig:
        """The UNet's configuration. Raises SVDError if the part is missing; so do `vae` and `clip`."""
        self.require("unet")
        return cast(UNetConfig, self.config.unet)

    @property
    def vae(self) -> AutoencoderConfig:
        self.require("vae")
        return cast(AutoencoderConfig, self.config.vae)

    @property
    def clip(self) -> ClipVisionConfig:
        self.require("clip")
        return cast(ClipVisionConfig, self.config.clip)

    def parameters_of(self, part: str) -> dict[str, Entry]:
        """The parameters of a part, as recipes: reads no weights. Raises SVDError if the part is missing."""
        self.require(part)
        return dict(self.parts[part])

    def dtype(self, part: str) -> torch.dtype:
        """The dtype in which most of a part is stored."""
        sizes: Counter[torch.dtype] = Counter()
        for entry in self.parameters_of(part).values():
            sizes[entry.dtype] += sum(ref.nbytes for ref in entry.sources)
        return sizes.most_common(1)[0][0]

    def read(
        self,
        part: str,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        transient: bool = False,
        matrix_dtype: torch.dtype | None = None,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield names and tensors of a part, one at a time, as stored or at the given dtype and device.

        matrix_dtype: for matrices and convolutions, if they differ from vectors.
        Tensors that need no conversion are views of the mapped file: keep the file in place while they live.
        transient: promises that each tensor is copied and dropped before the next is asked for, so that the mapping
        can be released in between.
        """
        return stream(self.parameters_of(part), self.open_file, dtype, device, transient, matrix_dtype)


def open_checkpoint(
    path: str | Path, companion: str | Path | None = None, *, open_file: OpenFile | None = None
) -> Checkpoint:
    """Read the headers of a checkpoint: a .safetensors file, or a folder in the diffusers layout.

    companion: a second file or folder, for the VAE and image encoder that the first one lacks.
    open_file: maps a safetensors file to its tensors by name, in place of `SafetensorsFile`.
    Raises SVDError for anything that is not a Stable Video Diffusion checkpoint.
    """
    files = read_files(path)
    other = identify_other(files.refs["unet"])
    if other:
        raise SVDError(other.describe(files.name))
    found = _find_parts(files, PARTS)
    lacking = tuple(part for part in PARTS if part not in found)
    if companion is not None and lacking:
        found |= _find_in_companion(files, read_files(companion), lacking)
    config = _infer_config(found)
    _check_fit(files.name, config)
    num_frames, temporal = files.num_frames, config.vae.temporal_decoder if config.vae else None
    extended = config.unet.num_positions if config.unet else 0  # an extension that was saved with its checkpoint
    release = EXVIDEO if extended else guess_release(files.path, num_frames=num_frames, temporal_decoder=temporal)
    length = extended or num_frames or (release.num_frames if release else None)
    notes = [*_take_notes(files, found, release, temporal)]
    if companion is not None and not lacking:
        notes.append(f"{files.name} has all its parts, so the companion {Path(companion).name} is not read.")
    notes = list(map(printable, notes))
    for note in notes:
        logger.warning(note)
    return Checkpoint(
        path=files.path,
        layout=files.layout,
        config=config,
        release=release,
        num_frames=length,
        parts={part: entries for part, (_, entries) in found.items()},
        notes=tuple(notes),
        open_file=open_file or SafetensorsFile,
    )


def load_weights(
    module: nn.Module,
    checkpoint: Checkpoint,
    part: str,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    matrix_dtype: torch.dtype | None = None,
) -> None:
    """Fill a network, on the meta device or a real one, with the weights of a part. Dtypes are as in `read`.

    Raises SVDError, before anything is read, if names or shapes of the two differ.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: entry.shape for name, entry in checkpoint.parameters_of(part).items()}
    check_complete(checkpoint.name, part, wanted, found)
    for name, tensor in checkpoint.read(part, dtype, device, matrix_dtype=matrix_dtype):
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


_Found = dict[str, tuple[CheckpointFiles, Entries]]


def _find_parts(files: CheckpointFiles, parts: tuple[str, ...]) -> _Found:
    entries = {part: _FIND[part](files.refs[part]) for part in parts}
    for found in filter(None, entries.values()):
        check_numbers(source for entry in found.values() for source in entry.sources)
    return {part: (files, found) for part, found in entries.items() if found}


def _find_in_companion(files: CheckpointFiles, companion: CheckpointFiles, lacking: tuple[str, ...]) -> _Found:
    found = _find_parts(companion, lacking)
    if not found:
        titles = " or ".join(TITLES[part] for part in lacking)
        raise SVDError(
            f"{companion.name} holds no {titles}, which {files.name} lacks: pick a complete SVD checkpoint beside it."
        )
    return found


def _take_notes(files: CheckpointFiles, found: _Found, release: Release | None, temporal: bool | None) -> Iterator[str]:
    """Sentences on what was chosen among several, and on what is unusual."""
    for note in files.notes:
        yield f"{files.name} {note}."
    if "vae" in found:
        owner = found["vae"][0]
        encoder = describe_encoder(owner.refs["vae"])
        if encoder and release is not DEMO:  # which was trained with one encoder
            yield f"{owner.name} {encoder}."
        named = guess_release(owner.path)
        if not temporal and (named is None or named.temporal_decoder):
            yield f"{owner.name} has the decoder for single images, so the clip may flicker."


def _infer_config(found: _Found) -> ModelConfig:
    unet: UNetConfig | None = None
    vae: AutoencoderConfig | None = None
    clip: ClipVisionConfig | None = None
    for part, (files, entries) in found.items():
        shapes = {name: entry.shape for name, entry in entries.items()}
        settings = files.settings.get(part, {})
        if part == "unet":
            unet = infer_unet(files.name, shapes, settings)
        elif part == "vae":
            vae = infer_vae(files.name, shapes, settings)
        else:
            clip = infer_clip(files.name, shapes, settings)
    return ModelConfig(unet, vae, clip)


def _check_fit(name: str, config: ModelConfig) -> None:
    """Raises SVDError unless the parts share the width of latents and of the image embedding."""
    unet, vae, clip = config.unet, config.vae, config.clip
    if unet and vae and vae.latent_channels != unet.out_channels:
        what = f"a VAE of {vae.latent_channels} latent channels cannot serve the {unet.out_channels} of its UNet"
        raise SVDError(f"{name} does not fit together, {what}: pick the VAE of an SVD checkpoint.")
    if unet and clip and clip.projection_dim != unet.context_dim:
        what = f"an image embedding of {clip.projection_dim} cannot serve the {unet.context_dim} its UNet reads"
        raise SVDError(f"{name} does not fit together, {what}: pick the image encoder of an SVD checkpoint.")
