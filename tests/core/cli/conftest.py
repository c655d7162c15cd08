"""A small model and a folder of pictures to use the command line with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svd_core.cli import main
from tests.support.random_checkpoint import tiny_config, write_checkpoint

Animate = Callable[..., int]
QUICK = ["--num-inference-steps", "1", "--num-frames", "3", "--width", "32", "--height", "16"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("cli") / "tiny.safetensors", tiny_config())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three pictures."""
    (tmp_path / "pictures").mkdir()
    for index in range(3):
        level = np.random.default_rng(index).integers(0, 256, (20, 40, 3), dtype=np.uint8)
        Image.fromarray(level).save(tmp_path / "pictures" / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def animate(checkpoint: Path, desk: Path) -> Animate:
    """Makes a small clip of noise; what else is said comes last, and counts."""
    return lambda *words: main(["animate", "--checkpoint", str(checkpoint), *QUICK, *words])


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
