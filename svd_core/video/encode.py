"""One writer per format: H.264 and VP9 through PyAV; GIF, WebP and folders of PNGs through Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError, needing
from ..files import write_whole_folder
from .format import COMMENT, EXIF_DESCRIPTION, PNG_COMMENT, PNG_FPS, VideoFormat, number_name

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
CONTAINERS_WITH_INDEX = ("mp4", "mov")
H264_MAX_CRF, VP9_MAX_CRF = 51, 63
GIF_TICK, WEBP_TICK = 10, 1  # milliseconds
MAX_GIF_FPS = 100


# --- videos ------------------------------------------------------------------------------------------------------


def write_h264(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    _encode(frames, path, form, "libx264", {"crf": str(_choose_crf(form, H264_MAX_CRF))})


def write_vp9(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    crf = {"lossless": "1"} if form.quality == 10 else {"crf": str(_choose_crf(form, VP9_MAX_CRF))}
    _encode(frames, path, form, "libvpx-vp9", {**crf, "b": "0", "row-mt": "1", "cpu-used": "4"})


def _choose_crf(form: VideoFormat, highest: int) -> int:
    return int((1 - form.quality / 10) * highest)


def _encode(frames: Iterator[np.ndarray], path: Path, form: VideoFormat, codec: str, options: dict[str, str]) -> None:
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
            stream.height, stream.width = _crop_to_even(first).shape[:2]
            stream.pix_fmt = "yuv420p"  # the one pixel format that every player shows
            _tag_colours(stream.codec_context)
            for picture in chain([first], frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_crop_to_even(picture)), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())  # what the encoder still holds back
    except UnknownCodecError as error:
        raise SVDError(
            f"This PyAV cannot write {container}: it lacks {codec}; install PyAV from its own wheels."
        ) from error
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


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
    """Each frame gets its own 256 colours; quality changes nothing."""
    if form.rate > MAX_GIF_FPS:
        raise SVDError(f"A GIF plays at most {MAX_GIF_FPS} frames per second, not {float(form.rate):g}; write a .webp.")
    _write_animation(frames, path, form.rate, GIF_TICK, **({"comment": form.comment} if form.comment else {}))


def write_webp(frames: Iterator[np.ndarray], path: Path, form: VideoFormat) -> None:
    from PIL import Image

    options: dict[str, Any] = {"lossless": True} if form.quality == 10 else {"quality": 10 * form.quality}
    if form.comment:
        options["exif"] = exif = Image.Exif()
        exif[EXIF_DESCRIPTION] = form.comment
    _write_animation(frames, path, form.rate, WEBP_TICK, **options)


def _write_animation(frames: Iterator[np.ndarray], path: Path, rate: Fraction, tick: int, **options: Any) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    durations = _frame_durations(rate, tick)
    shown = [next(durations) for _ in (first, *rest)]
    first.save(path, save_all=True, append_images=rest, duration=shown, loop=0, **options)


def _frame_durations(rate: Fraction, tick: int) -> Iterator[int]:
    """Milliseconds per frame, in whole ticks whose sum never drifts from the frame rate."""
    ends = (tick * round(index * 1000 / rate / tick) for index in count(1))
    start = 0
    for end in ends:
        yield end - start
        start = end


def write_pngs(frames: Iterator[np.ndarray], pattern: Path, form: VideoFormat) -> None:
    """Write a new folder with one PNG per frame, counted from 0; each holds the frame rate and the metadata."""
    if pattern.suffix.lower() != ".png":
        raise SVDError(f"Frames are written as PNG, not as {pattern.suffix}; end {pattern.name} in .png.")
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(PNG_FPS, str(form.rate))
    if form.comment:
        info.add_text(PNG_COMMENT, form.comment)
    with write_whole_folder(pattern.parent) as folder:
        for index, frame in enumerate(frames):
            Image.fromarray(np.ascontiguousarray(frame)).save(folder / number_name(pattern.name, index), pnginfo=info)
