"""The video formats, through PyAV: H.264 in mp4, mov and mkv, VP9 in webm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SVDError, needing
from .metadata import COMMENT

if TYPE_CHECKING:
    from .write import Form

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
WITH_AN_INDEX = ("mp4", "mov")
H264_MAX_CRF, VP9_MAX_CRF = 51, 63


def write_h264(frames: Iterator[np.ndarray], path: Path, form: Form) -> None:
    _encode(frames, path, form, "libx264", {"crf": str(_crf(form, H264_MAX_CRF))})


def write_vp9(frames: Iterator[np.ndarray], path: Path, form: Form) -> None:
    crf = {"lossless": "1"} if form.quality == 10 else {"crf": str(_crf(form, VP9_MAX_CRF))}
    _encode(frames, path, form, "libvpx-vp9", {**crf, "b": "0", "row-mt": "1", "cpu-used": "4"})


def _crf(form: Form, highest: int) -> int:
    return int((1 - form.quality / 10) * highest)


def _encode(frames: Iterator[np.ndarray], path: Path, form: Form, codec: str, options: dict[str, str]) -> None:
    with needing("av", "Writing a video"):
        import av
        from av.codec.codec import UnknownCodecError
        from av.error import FFmpegError

    first = next(frames)
    container = CONTAINERS[path.suffix.lower()]
    try:
        with av.open(str(path), mode="w", format=container, options=_container_options(container)) as file:
            if form.comment:
                file.metadata[COMMENT] = form.comment
            stream: Any = file.add_stream(codec, rate=form.rate, options=options)
            stream.height, stream.width = _even(first).shape[:2]
            stream.pix_fmt = "yuv420p"
            _tag_colours(stream.codec_context)
            for picture in chain([first], frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_even(picture)), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    except UnknownCodecError as error:
        raise SVDError(
            f"This PyAV has no {codec} to write {container} with; install PyAV from its own wheels."
        ) from error
    except FFmpegError as error:
        raise OSError(str(error)) from error


def _even(picture: np.ndarray) -> np.ndarray:
    height, width = (side - side % 2 for side in picture.shape[:2])
    return picture[:height, :width]


def _container_options(container: str) -> dict[str, str]:
    """The index goes to the front of the file, so that a browser can play what it has not wholly fetched.

    The other containers would draw a random identifier; without it the same frames give the same file.
    """
    return {"movflags": "+faststart"} if container in WITH_AN_INDEX else {"fflags": "+bitexact"}


def _tag_colours(codec: Any) -> None:
    """Say what the conversion from RGB does, so that players need not guess from the height (codes of ITU-T H.273).

    The matrix and range are those that FFmpeg takes where nothing is said, so readers that skip the tags agree.
    """
    codec.colorspace = 6  # SMPTE 170M
    codec.color_range = 1  # 16 to 235
    codec.color_primaries = 1  # BT.709, which are those of sRGB
    codec.color_trc = 1
