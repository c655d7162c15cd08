"""What a clip was made with, as it stands in the file; two clips of equal records are one clip."""

from __future__ import annotations

import argparse
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoints import Checkpoint
from ..video import Metadata
from ..video.format import check_quality
from .digest import checkpoint_sha256, file_sha256
from .given import GivenFiles
from .options import LoRAOption, dtype_name
from .settings import Settings, default_dtype


class Recorder:
    """Writes the records of a run's clips. Files are hashed once."""

    def __init__(
        self, settings: Settings, checkpoint: Checkpoint, given: GivenFiles, options: argparse.Namespace
    ) -> None:
        """checkpoint: without the extension, which has an entry of its own."""
        self.settings, self.checkpoint, self.given = settings, checkpoint, given
        self.quality = check_quality(options.quality)
        self.dtypes = [options.dtype or dtype_name(default_dtype(options.device)), options.weight_dtype]
        self.extension: Path | None = options.extension
        self.loras: list[LoRAOption] = options.lora

    def record(self, picture: Path, seed: int) -> Metadata:
        """Raises SVDError for a file that cannot be read."""
        return {
            **self.of_all_clips,
            "picture": picture.name,
            "picture_sha256": file_sha256(picture),
            "seed": seed,
        }

    @cached_property
    def of_all_clips(self) -> Metadata:
        return {
            "svd_nodes": __version__,
            "checkpoint": self.checkpoint.name,
            "checkpoint_sha256": checkpoint_sha256(self.checkpoint),
            **self._extension(),
            "loras": [[lora.path.name, file_sha256(lora.path), lora.strength] for lora in self.loras],
            **self.given.record(self.settings.num_frames),
            "settings": {
                **self.settings.arguments(),
                "dtype": self.dtypes[0],
                "weight_dtype": self.dtypes[1] or self.dtypes[0],
                "quality": self.quality,
            },
        }

    def _extension(self) -> Metadata:
        if self.extension is None:
            return {}
        return {"extension": self.extension.name, "extension_sha256": file_sha256(self.extension)}


def same_clip(a: Metadata, b: Metadata) -> bool:
    """Whether two records are of one clip, whatever its files were called."""
    return _decisive(a) == _decisive(b)


def _decisive(record: Metadata) -> Metadata:
    kept = {key: value for key, value in _without_names(record).items() if key != "svd_nodes"}
    loras = kept.get("loras")
    if isinstance(loras, list):
        kept["loras"] = [lora[1:] for lora in loras if isinstance(lora, list)]
    return kept


def _without_names(value: Any) -> Any:
    """Without the names of files whose hashes stand beside them."""
    if isinstance(value, list):
        return [_without_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_names(each) for key, each in value.items() if f"{key}_sha256" not in value}
