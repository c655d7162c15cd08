"""SHA-256 of files, as `sha256sum` prints it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints import Checkpoint
from ..errors import SVDError

_PIECE = 2**22  # bytes


def file_sha256(path: Path) -> str:
    """Raises SVDError for a file that cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise SVDError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error
    return digest.hexdigest()


def files_sha256(files: Sequence[Path]) -> str:
    """Of the one file there is, or of the list of the hashes of several."""
    digests = [file_sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode("ascii")).hexdigest()


def checkpoint_sha256(checkpoint: Checkpoint) -> str:
    """Of all files that a checkpoint is read from."""
    files = {ref.file for entries in checkpoint.parts.values() for entry in entries.values() for ref in entry.sources}
    return files_sha256(sorted(files))
