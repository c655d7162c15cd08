"""Records: what a clip was made with, as its file says it. Clips with equal records are the same clip."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoints import Checkpoint
from ..errors import SVDError
from ..pipeline.loading import choose_device, choose_dtype
from ..pipeline.settings import ResolvedSettings
from ..video import Metadata
from ..video.format import check_quality, find_frames, is_pattern
from .given import GivenFiles, HeldFile
from .options import LoRAOption, name_dtype

_CHUNK = 2**22  # bytes


class Recorder:
    """Writes the records of one command's clips; hashes each file once."""

    def __init__(
        self, settings: ResolvedSettings, checkpoint: Checkpoint, given: GivenFiles, options: argparse.Namespace
    ) -> None:
        """checkpoint: without the extension, which has an entry of its own."""
        self.settings, self.checkpoint, self.given = settings, checkpoint, given
        self.quality = check_quality(options.quality)
        self.dtype: str = options.dtype or name_dtype(choose_dtype(options.device or choose_device()))
        self.weight_dtype: str = options.weight_dtype or self.dtype
        self.extension: Path | None = options.extension
        self.loras: list[LoRAOption] = options.lora

    def record(self, picture: Path, seed: int) -> Metadata:
        """The record of one clip. Raises SVDError for a file that cannot be read."""
        return {
            **self._shared,
            "picture": picture.name,
            "picture_sha256": hash_file(picture),
            "seed": seed,
        }

    @cached_property
    def _shared(self) -> Metadata:
        """The part that all clips have in common."""
        return {
            "svd_nodes": __version__,
            "checkpoint": self.checkpoint.name,
            "checkpoint_sha256": hash_checkpoint(self.checkpoint),
            **self._record_extension(),
            "loras": [[lora.path.name, hash_file(lora.path), lora.strength] for lora in self.loras],
            **_record_given(self.given, self.settings.num_frames),
            "settings": {
                **asdict(self.settings),
                "dtype": self.dtype,
                "weight_dtype": self.weight_dtype,
                "quality": self.quality,
            },
        }

    def _record_extension(self) -> Metadata:
        if self.extension is None:
            return {}
        return {"extension": self.extension.name, "extension_sha256": hash_file(self.extension)}


def _record_given(given: GivenFiles, num_frames: int) -> Metadata:
    """Names and hashes of the video and the held pictures; empty without them."""
    record: Metadata = {}
    if (video := given.input_video) is not None:
        # of a folder, only the frames that the clip starts from count
        frames = find_frames(video)[:num_frames] if video.is_dir() or is_pattern(video) else [video]
        record = {"input_video": video.name, "input_video_sha256": hash_files(frames)}
    return record | ({"held_frames": [_record_held(each) for each in given.held]} if given.held else {})


def _record_held(held: HeldFile) -> Metadata:
    mask = {} if held.mask is None else {"mask": held.mask.name, "mask_sha256": hash_file(held.mask)}
    picture = {"picture": held.picture.name, "picture_sha256": hash_file(held.picture)}
    return {"frame_id": held.frame_id, **picture, **mask}


def is_same_clip(a: Metadata, b: Metadata) -> bool:
    """True if two records are of one clip, whatever its files are called and whichever version wrote them."""
    return _drop_names(a) == _drop_names(b)


def _drop_names(record: Metadata) -> Metadata:
    kept = {key: value for key, value in _drop_hashed_names(record).items() if key != "svd_nodes"}
    loras = kept.get("loras")
    if isinstance(loras, list):
        kept["loras"] = [lora[1:] for lora in loras if isinstance(lora, list)]
    return kept


def _drop_hashed_names(value: Any) -> Any:
    """Drop the names of files whose hashes stand beside them, at any depth."""
    if isinstance(value, list):
        return [_drop_hashed_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _drop_hashed_names(each) for key, each in value.items() if f"{key}_sha256" not in value}


def hash_file(path: Path) -> str:
    """SHA-256, as `sha256sum` prints it. Raises SVDError for a file that cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise SVDError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error
    return digest.hexdigest()


def hash_files(files: Sequence[Path]) -> str:
    """SHA-256 of one file, or of the joined hashes of several."""
    digests = [hash_file(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode("ascii")).hexdigest()


def hash_checkpoint(checkpoint: Checkpoint) -> str:
    """SHA-256 of all files that a checkpoint is read from."""
    files = {ref.file for entries in checkpoint.parts.values() for entry in entries.values() for ref in entry.sources}
    return hash_files(sorted(files))
