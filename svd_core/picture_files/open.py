"""Open picture files, and say in one sentence why one cannot be read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import SVDError
from ..reading import check_file
from .kinds import describe_unread, list_formats

logger = logging.getLogger(__name__)

MAX_SIDE = 100_000  # pixels; JPEG has 65,535 at most, and damaged headers claim millions

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_PAGED = ("TIFF",)


@contextmanager
def open_picture(path: Path) -> Iterator[Any]:
    """Open a file with Pillow for a `with` block. Whatever Pillow raises there becomes an SVDError about the file."""
    from PIL import Image, UnidentifiedImageError

    check_file(path)
    with reporting(str(path)):
        try:
            picture = Image.open(path, formats=list_formats())
        except UnidentifiedImageError:
            raise SVDError(f"{path} cannot be read as a picture: it {describe_unread(path)}.") from None
        with picture:
            if max(picture.size) > MAX_SIDE:
                width, height = picture.size
                raise SVDError(f"{path} is {width}x{height} pixels; cut it or scale it down to {MAX_SIDE} at most.")
            yield picture


def read_picture(path: Path) -> Any:
    """The picture of a file, upright, as a PIL image; of several frames or pages the first, which is logged.

    Raises SVDError for a file that is not a picture.
    """
    with open_picture(path) as picture:
        log_first_of(path, picture)
        upright = turn_upright(picture)
        upright.filename = str(path)  # for messages
        return upright


def count_frames(picture: Any) -> int:
    """Frames of an animation; 1 for a still picture, also for one with layers or thumbnails beside it."""
    return getattr(picture, "n_frames", 1) if picture.format in _ANIMATED else 1


def log_first_of(path: Path, picture: Any) -> None:
    """Log which part of a file of several pictures is taken."""
    frames = count_frames(picture)
    if frames > 1:
        logger.warning("%s is an animation of %d frames; its first frame is taken.", path.name, frames)
    elif picture.format in _PAGED and getattr(picture, "n_frames", 1) > 1:
        logger.warning("%s has %d pages; its first page is taken.", path.name, picture.n_frames)


def turn_upright(picture: Any) -> Any:
    """Turn a picture as its EXIF tag asks. Where the EXIF data is damaged it stays as it is, which is logged."""
    from PIL import ImageOps

    picture.load()  # so that what fails below is the EXIF data, not the picture
    try:
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # noqa: BLE001  (damaged EXIF data makes Pillow raise nearly anything)
        name = getattr(picture, "filename", "") or "The picture"
        logger.warning("%s has damaged EXIF data (%s) and is taken as it lies.", name, error)
        return picture


@contextmanager
def reporting(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises into an SVDError that names the picture, and log its warnings.

    Damaged files make it raise nearly anything: OSError, SyntaxError, struct.error, IndexError, TypeError and more.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except SVDError:
        raise
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise SVDError(f"{name} is larger than {limit:.0f} million pixels; scale it down.") from None
    except MemoryError as error:
        raise SVDError(f"{name} does not fit into the memory; scale it down.") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SVDError(f"{name} cannot be read as a picture ({reason}); save or download it again.") from error
    for each in caught:
        if not issubclass(each.category, Image.DecompressionBombWarning):  # large pictures are welcome
            logger.warning("%s: %s", name, each.message)
