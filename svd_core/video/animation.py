"""Read animations as frames, and single pictures as one: GIF, WebP, PNG, AVIF, pages of a TIFF."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SVDError
from ..picture_files import open_picture, to_rgb_levels, turn_upright
from ..reading import parse_json
from .format import COMMENT, EXIF_DESCRIPTION, PNG_COMMENT, Metadata, read_comment, read_rate
from .frames import Video, check_memory, stack_frames
from .timing import GIF_CLOCK, WEBP_CLOCK, count_frames

_TIMED = ("GIF", "WEBP", "PNG", "AVIF")
_PAGED = "TIFF"
DEFAULT_DURATION = 100  # milliseconds; browsers show a frame this long if the file states no duration
_MAX_SCANNED = 1000  # frames whose durations are looked at, beyond those that are wanted
_MAX_REPEATS = 2**15  # of one frame; a GIF of 50 frames per second holds as many, and damaged durations are longer
_EXIF_MODEL, _PROMPT = 0x0110, "prompt:"  # where ComfyUI writes the graph into a WebP
_MAX_LINKS = 8


def read_animation(path: Path, max_frames: int | None) -> Video:
    """Frames of one rate, a stored one as often as its duration asks. Raises SVDError for what cannot be read."""
    with open_picture(path) as file:
        rate, metadata = read_description(file)
        count = file.n_frames if file.format in (*_TIMED, _PAGED) else 1  # a JPEG may have a thumbnail beside it
        if count == 1 and rate is None:
            return Video(to_rgb_levels(turn_upright(file))[None], None, metadata)
        wanted = range(count)[:max_frames]
        check_memory(len(wanted), file.size[::-1], path)  # as the header says it, before anything is decoded
        stored = [_read_frame(file, index, path) for index in wanted]
        frames = stack_frames((frame for frame, _ in stored), path)
        if file.format == _PAGED:
            return Video(frames, None, metadata)
        durations = [duration for _, duration in stored]
        if rate is None:  # the rate is that of the whole file, however few frames are wanted
            durations += _scan_durations(file, range(len(stored), min(count, _MAX_SCANNED)))
        clock = GIF_CLOCK if file.format == "GIF" else WEBP_CLOCK
        repeats, fps = count_frames(durations, clock, rate or _read_host_rate(file), is_cut=rate is None)
    return Video(_repeat(frames, repeats[: len(frames)], max_frames, path), fps, metadata)


def read_description(file: Any) -> tuple[Fraction | None, Metadata]:
    """The rate and the metadata that `save_video` wrote into a picture file; None and empty for files of others."""
    comments = [file.info.get(COMMENT), file.info.get(PNG_COMMENT), _read_exif(file, EXIF_DESCRIPTION)]
    read = [read_comment(comment) for comment in comments]
    return next((each for each in read if any(each)), (None, {}))


def _read_exif(file: Any, tag: int) -> Any:
    with suppress(Exception):  # damaged EXIF data, which says nothing about the picture
        return file.getexif().get(tag)


def _read_frame(file: Any, index: int, path: Path) -> tuple[np.ndarray, float]:
    """h w 3, and its duration in milliseconds."""
    file.seek(index)
    frame = to_rgb_levels(file)
    check_memory(index + 1, frame.shape, path)  # frames of a GIF may grow
    return frame, file.info.get("duration") or DEFAULT_DURATION  # after decoding, because WebP knows it then


def _scan_durations(file: Any, indices: Iterable[int]) -> list[float]:
    """As far as the file can be read: what is wanted of it has been."""
    durations: list[float] = []
    with suppress(Exception):
        for index in indices:
            file.seek(index)
            file.load()
            durations.append(file.info.get("duration") or DEFAULT_DURATION)
    return durations


def _repeat(frames: np.ndarray, repeats: np.ndarray, max_frames: int | None, path: Path) -> np.ndarray:
    """Each frame as often as `repeats` says, up to `max_frames`; no more are ever made."""
    ends = repeats.cumsum()
    ends = np.minimum(ends, max_frames or ends[-1])
    counts = np.diff(ends, prepend=0)
    if max_frames is None and counts.max() > _MAX_REPEATS:
        raise SVDError(
            f"One frame of {path.name} stands for {counts.max()} frames; say with max_frames how many to read."
        )
    check_memory(int(ends[-1]), frames[0].shape, path)
    return np.repeat(frames, counts, axis=0)


def _read_host_rate(file: Any) -> Fraction | None:
    """The rate at which ComfyUI saved the animation, where the graph in the file says it."""
    text = _read_exif(file, _EXIF_MODEL)
    if not isinstance(text, str) or not text.startswith(_PROMPT):
        return None
    with suppress(Exception):  # a graph may hold anything
        graph = parse_json(text.removeprefix(_PROMPT))
        savers = [node for node in graph.values() if node["class_type"].startswith("SaveAnimated")]
        rates = {_read_linked_rate(graph, node) for node in savers}
        return rates.pop() if len(rates) == 1 else None
    return None


def _read_linked_rate(graph: dict[str, Any], node: dict[str, Any]) -> Fraction | None:
    """The `fps` of a node; where a link leads to it, that of the other node."""
    for _ in range(_MAX_LINKS):
        inputs = node["inputs"]
        value = inputs.get("fps", inputs.get("value"))
        if not isinstance(value, list):
            return read_rate(str(value))
        node = graph[str(value[0])]
    return None
