"""One writer per format: H.264 and VP9 through PyAV; GIFs and folders of PNGs through Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError, needing
from ..files import write_whole_folder
from .format import COMMENT, PNG_COMMENT, PNG_FPS, VideoFormat, format_size, number_name
from .timing import GIF_CLOCK, frame_durations

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
H264, VP9 = "libx264", "libvpx-vp9"
CONTAINERS_WITH_INDEX = ("mp4", "mov")
H264_MAX_CRF, VP9_MAX_CRF = 51, 63


# --- videos ------------------------------------------------------------------------------------------------------


def check_encoder(suffix: str) -> None:
    """Raises SVDError if PyAV, or the encoder that it needs for files of this suffix, is missing."""
    with needing("av", "Writing a video"):
        import av.codec
        from av.codec.codec import UnknownCodecError

    encoder = VP9 if suffix == ".webm" else H264
    try:
        av.codec.Codec(encoder, "w")
    except UnknownCodecError as error:
        raise SVDError(
            f"This PyAV cannot write {suffix} files: it lacks {encoder}; "
            "install PyAV from its own wheels, or write a .webp."
        ) from error


def write_h264(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    _encode(frames, path, form, H264, {"crf": str(_choose_crf(form, H264_MAX_CRF))})


def write_vp9(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    crf = {"lossless": "1"} if form.quality == 10 else {"crf": str(_choose_crf(form, VP9_MAX_CRF))}
    _encode(frames, path, form, VP9, {**crf, "b": "0", "row-mt": "1", "cpu-used": "4"})


def _choose_crf(form: VideoFormat, highest: int) -> int:
    return int((1 - form.quality / 10) * highest)


def _encode(frames: Iterator[np.ndarray], path: Path, form: VideoFormat, codec: str, options: dict[str, str]) -> None:
    import av
    from av.error import FFmpegError

    first = next(frames)
    container = CONTAINERS[path.suffix.lower()]
    try:
        # An absolute path, because FFmpeg takes "shot:1.mp4" for a protocol.
        with av.open(str(path.absolute()), mode="w", format=container, options=_container_options(container)) as file:
            if form.comment:
                file.metadata[COMMENT] = form.comment
            stream: Any = file.add_stream(codec, rate=form.rate, options=options)
            stream.height, stream.width = _crop_to_even(first).shape[:2]
            stream.pix_fmt = "yuv420p"  # the one pixel format that every player shows
            _tag_colours(stream.codec_context)
            for picture in chain([first], frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_crop_to_even(picture)), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())  # what the encoder still holds back
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror) from error
        size = f"{format_size(first.shape)} at {float(form.rate):g} frames per second"
        raise SVDError(f"{size} cannot be written as {container} ({error}); choose another size or format.") from error


def _crop_to_even(picture: np.ndarray) -> np.ndarray:
    height, width = (side - side % 2 for side in picture.shape[:2])
    return picture[:height, :width]


def _container_options(container: str) -> dict[str, str]:
    """Put the index at the front of the file, so that a browser can play it while it is still loading.

    The other containers would draw a random identifier; without it the same frames give the same file.
    """
    return {"movflags": "+faststart"} if container in CONTAINERS_WITH_INDEX else {"fflags": "+bitexact"}


def _tag_colours(codec: Any) -> None:
    """State how RGB was converted, so that players need not guess from the height (codes of ITU-T H.273).

    Matrix and range are FFmpeg's own defaults, so readers that skip the tags agree.
    """
    codec.colorspace = 6  # SMPTE 170M
    codec.color_range = 1  # 16 to 235
    codec.color_primaries = 1  # BT.709, which sRGB shares
    codec.color_trc = 1


# --- pictures ----------------------------------------------------------------------------------------------------


def write_gif(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    """Each frame gets its own 256 colours; quality changes nothing. Equal neighbours are stored as one longer frame."""
    from PIL import Image

    first, *rest = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    durations = [duration for _, duration in zip((first, *rest), frame_durations(form.rate, GIF_CLOCK), strict=False)]
    try:
        first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, comment=form.described)
    except (OverflowError, struct.error) as error:  # its numbers have 16 bits
        raise SVDError(
            "A .gif file holds at most 65535 pixels a side, and shows a picture for at most 655 seconds; write a .webp."
        ) from error


def write_pngs(frames: Iterator[np.ndarray], pattern: Path, form: VideoFormat) -> None:
    """Write a new folder with one PNG per frame, counted from 0; each holds the frame rate and the metadata."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(PNG_FPS, str(form.rate))
    if form.comment:
        info.add_text(PNG_COMMENT, form.comment)
    with write_whole_folder(pattern.parent) as folder:
        for index, frame in enumerate(frames):
            Image.fromarray(np.ascontiguousarray(frame)).save(folder / number_name(pattern.name, index), pnginfo=info)
