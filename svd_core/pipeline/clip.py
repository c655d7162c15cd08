"""The clip that a pipeline makes, and the other forms it comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
import torch
from torch import Tensor

from ..video import Metadata, save_video
from .settings import ResolvedSettings

if TYPE_CHECKING:
    from PIL.Image import Image

Output = Literal["pil", "array", "tensor", "latent"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True, eq=False)
class Clip(Sequence["Image"]):
    """A clip and how it was made; as a sequence, its frames as PIL images."""

    frames: np.ndarray  # t H W 3, uint8
    fps: float
    seed: int
    settings: ResolvedSettings

    @cached_property
    def images(self) -> list[Image]:
        from PIL import Image

        return [Image.fromarray(frame) for frame in self.frames]

    @property
    def metadata(self) -> Metadata:
        """The seed and all settings, as JSON holds them: what makes the clip again from its picture."""
        return {"seed": self.seed, "settings": asdict(self.settings)}

    def save(self, path: str | Path, quality: float = 5, metadata: Mapping[str, Any] | None = None) -> Path:
        """Write a file that plays at the clip's fps; `save_video` says which formats there are.

        metadata: written into the file, by default the seed and the settings.
        """
        return save_video(self.frames, path, self.fps, quality, self.metadata if metadata is None else metadata)

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        return self.images[index]

    def __repr__(self) -> str:
        num_frames, height, width, _ = self.frames.shape
        return f"Clip({num_frames} frames of {width}x{height}, fps={self.fps:g}, seed={self.seed})"


def to_levels(frames: Tensor) -> np.ndarray:
    """t H W 3 in [0, 1], on the CPU, to 8-bit levels of the same shape."""
    return np.ascontiguousarray((frames * 255).round().to(torch.uint8).numpy())
