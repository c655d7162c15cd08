"""Opening a checkpoint, and filling a network from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig
from ..errors import SVDError
from .entries import Entries, Entry, Refs, find_clip, find_unet, find_vae
from .identify import identify
from .infer import PARTS, TITLES, check_complete, infer_clip, infer_unet, infer_vae
from .layouts import Source, open_source
from .releases import EXVIDEO, Release, guess_release
from .stream import OpenFile, SafetensorsFile, stream

_FIND: dict[str, Callable[[Refs], Entries | None]] = {"unet": find_unet, "vae": find_vae, "clip": find_clip}


@dataclass(frozen=True)
class Checkpoint:
    """The headers of a checkpoint: what it holds, and how to read it. No weights are read until asked for."""

    path: Path
    layout: str
    config: ModelConfig
    release: Release | None
    num_frames: int | None  # trained length: of the files where they state it, else of the release
    parts: dict[str, Entries] = field(repr=False)
    open_file: OpenFile = field(default=SafetensorsFile, repr=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def missing_parts(self) -> tuple[str, ...]:
        """Of "unet", "vae", "clip": those neither the file nor its companion holds."""
        return tuple(part for part in PARTS if part not in self.parts)

    def require(self, *parts: str) -> None:
        """Raises SVDError when one of the parts is missing."""
        missing = [TITLES[part] for part in parts if part not in self.parts]
        if missing:
            raise SVDError(
                f"{self.name} lacks the {' and the '.join(missing)}: "
                f"pick a complete SVD checkpoint, or add a second file that holds what is missing."
            )

    @property
    def unet(self) -> UNetConfig:
        """The UNet's configuration. Raises SVDError when the part is missing; so do `vae` and `clip`."""
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

    def plan(self, part: str) -> dict[str, Entry]:
        """How each parameter of a part is made; reads nothing. Raises SVDError when the part is missing."""
        self.require(part)
        return dict(self.parts[part])

    def dtype(self, part: str) -> torch.dtype:
        """The dtype most of a part is stored in."""
        sizes: Counter[torch.dtype] = Counter()
        for entry in self.plan(part).values():
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
        """Parameter names and tensors of a part, one at a time, as stored or at the given dtype and device.

        matrix_dtype: of matrices and convolutions, where it is another than that of vectors.
        Tensors that need no conversion are views of the mapped file: keep the file in place while they live.
        transient: the caller copies each tensor and lets go of it before it asks for the next, so that no view keeps
        the mapping.
        """
        return stream(self.plan(part), self.open_file, dtype, device, transient, matrix_dtype)


def open_checkpoint(
    path: str | Path, companion: str | Path | None = None, *, open_file: OpenFile | None = None
) -> Checkpoint:
    """Reads the headers of a checkpoint: a .safetensors file or a folder in the diffusers layout.

    companion: a second file or folder, for the VAE and image encoder that the first one lacks.
    open_file: maps a safetensors file to its tensors by name, in place of the safetensors library.
    Raises SVDError for anything that is not a Stable Video Diffusion checkpoint.
    """
    source = open_source(path)
    kind = identify(source.refs["unet"])
    if kind:
        raise SVDError(kind.sentence(source.name))
    found = _find_parts(source, PARTS)
    lacking = tuple(part for part in PARTS if part not in found)
    if companion is not None and lacking:
        found |= _from_companion(source, open_source(companion), lacking)
    config = _infer(found)
    _check_fit(source.name, config)
    num_frames, temporal = source.num_frames, config.vae.temporal_decoder if config.vae else None
    extended = config.unet.num_positions if config.unet else 0  # an extension that was saved with its checkpoint
    release = EXVIDEO if extended else guess_release(source.path, num_frames=num_frames, temporal_decoder=temporal)
    return Checkpoint(
        path=source.path,
        layout=source.layout,
        config=config,
        release=release,
        num_frames=extended or num_frames or (release.num_frames if release else None),
        parts={part: entries for part, (_, entries) in found.items()},
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
    """Gives a network, on the meta device or a real one, the weights of a part. Dtypes are those of `read`.

    Raises SVDError, before anything is read, when names or shapes of the two differ.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: entry.shape for name, entry in checkpoint.plan(part).items()}
    check_complete(checkpoint.name, part, wanted, found)
    for name, tensor in checkpoint.read(part, dtype, device, matrix_dtype=matrix_dtype):
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


_Found = dict[str, tuple[Source, Entries]]


def _find_parts(source: Source, parts: tuple[str, ...]) -> _Found:
    entries = {part: _FIND[part](source.refs[part]) for part in parts}
    return {part: (source, found) for part, found in entries.items() if found}


def _from_companion(source: Source, companion: Source, lacking: tuple[str, ...]) -> _Found:
    found = _find_parts(companion, lacking)
    if not found:
        titles = " or ".join(TITLES[part] for part in lacking)
        raise SVDError(
            f"{companion.name} holds no {titles}, which {source.name} lacks: pick a complete SVD checkpoint beside it."
        )
    return found


def _infer(found: _Found) -> ModelConfig:
    unet: UNetConfig | None = None
    vae: AutoencoderConfig | None = None
    clip: ClipVisionConfig | None = None
    for part, (source, entries) in found.items():
        shapes = {name: entry.shape for name, entry in entries.items()}
        settings = source.settings.get(part, {})
        if part == "unet":
            unet = infer_unet(source.name, shapes, settings)
        elif part == "vae":
            vae = infer_vae(source.name, shapes, settings)
        else:
            clip = infer_clip(source.name, shapes, settings)
    return ModelConfig(unet, vae, clip)


def _check_fit(name: str, config: ModelConfig) -> None:
    """The parts must speak of the same latents and the same image embedding."""
    unet, vae, clip = config.unet, config.vae, config.clip
    if unet and vae and vae.latent_channels != unet.out_channels:
        what = f"a VAE of {vae.latent_channels} latent channels cannot serve the {unet.out_channels} of its UNet"
        raise SVDError(f"{name} does not fit together, {what}: pick the VAE of an SVD checkpoint.")
    if unet and clip and clip.projection_dim != unet.context_dim:
        what = f"an image embedding of {clip.projection_dim} cannot serve the {unet.context_dim} its UNet reads"
        raise SVDError(f"{name} does not fit together, {what}: pick the image encoder of an SVD checkpoint.")
