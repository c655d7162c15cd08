"""The layouts a checkpoint may have: one file, or a folder as diffusers saves it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SVDError, printable
from ..reading import read_json
from .entries import Refs
from .header import PICKLE_SUFFIXES, Header, TensorRef, describe_pickle, read_header
from .inventory import CLIP_PREFIX
from .settings import PARTS, Settings, read_config_json, read_metadata, read_settings_tensors
from .wrappers import unwrap_unet

logger = logging.getLogger(__name__)

FOLDERS = {"unet": "unet", "vae": "vae", "clip": "image_encoder"}
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "clip": "model"}
EMA_FOLDER = "unet_ema"  # the average of the weights over the training, in folders of trainers
NUM_FRAMES_KEY = "svd_num_frames"
MAX_FRAMES = 10_000  # a trained length above this is damage
_VARIANTS = ("", ".fp16", ".bf16")  # full precision first: it loses nothing, and can be read as any dtype


@dataclass(frozen=True)
class CheckpointFiles:
    """The headers of a file or folder, and the settings that come with them."""

    path: Path
    layout: str  # "single file", "comfyui", "diffusers file" or "diffusers folder"
    refs: Mapping[str, Refs]  # by part; a single file offers all its tensors to every part
    settings: Mapping[str, Settings]  # by part; fields of the configurations
    num_frames: int | None = None  # trained length, if stated
    notes: tuple[str, ...] = ()  # what was chosen among several, as ends of a sentence that begins with the name

    @property
    def name(self) -> str:
        return self.path.name


def read_files(path: str | Path) -> CheckpointFiles:
    """Read the headers at a path. Raises SVDError if there is no checkpoint."""
    path = Path(path)
    return _read_folder(path) if os.path.isdir(path) else _read_file(path)  # of any name, however long


def _read_file(path: Path) -> CheckpointFiles:
    header = read_header(path)
    refs, notes = unwrap_unet(header.tensors)
    settings = read_settings_tensors(path.name, refs) | read_metadata(path.name, header.metadata)
    layout, num_frames = "single file", _parse_num_frames(header.metadata)
    if f"{CLIP_PREFIX}vision_model.embeddings.class_embedding" in refs:
        layout = "comfyui"
    elif "conv_in.weight" in refs:
        layout = "diffusers file"
        config = _read_json(path.with_name("config.json"))
        num_frames = num_frames or _get_num_frames(config)
        settings["unet"] = {**read_config_json("unet", path.name, config), **settings.get("unet", {})}
    return CheckpointFiles(path, layout, dict.fromkeys(PARTS, refs), settings, num_frames, tuple(notes))


def _parse_num_frames(metadata: Mapping[str, str]) -> int | None:
    """Trained length, as the conversion from a folder writes it into the metadata."""
    text = metadata.get(NUM_FRAMES_KEY, "")
    return _check_num_frames(int(text) if text.isdecimal() and len(text) < 10 else text or None)


# --- diffusers folders -------------------------------------------------------------------------------------------


def _read_folder(path: Path) -> CheckpointFiles:
    folders, notes = _find_folders(path)
    refs: dict[str, Refs] = {}
    settings: dict[str, Settings] = {}
    for part, folder in folders.items():
        headers = list(_read_headers(path / folder, STEMS[part]))
        refs[part] = _join_shards(f"{path.name}/{folder}", headers)
        if part == "unet":
            refs[part], more = unwrap_unet(refs[part])
            notes += more
        own = read_config_json(part, f"{path.name}/{folder}", _read_json(path / folder / "config.json"))
        for header in headers:
            own |= read_metadata(header.path.name, header.metadata).get(part, {})
        settings[part] = own
    if not refs["unet"]:
        raise SVDError(f"{path.name}/{folders['unet']} holds no .safetensors weights: download the folder again.")
    num_frames = _get_num_frames(_read_json(path / folders["unet"] / "config.json"))
    return CheckpointFiles(path, "diffusers folder", refs, settings, num_frames, tuple(notes))


def _find_folders(path: Path) -> tuple[dict[str, str], list[str]]:
    """The folder of each part, and what is said about it. Raises SVDError for a folder without a UNet."""
    average = (path / EMA_FOLDER).is_dir()
    if (path / FOLDERS["unet"]).is_dir():
        return FOLDERS, [f"holds {EMA_FOLDER}/ beside unet/, and it is left out"] if average else []
    if not average:
        raise SVDError(_describe_missing_unet(path))
    return FOLDERS | {"unet": EMA_FOLDER}, [f"holds {EMA_FOLDER}/ without unet/, and it is used"]


def _join_shards(name: str, headers: list[Header]) -> dict[str, TensorRef]:
    """The tensors of a part's files. Raises SVDError for a tensor in two of them."""
    refs: dict[str, TensorRef] = {}
    for header in headers:
        twice = next(iter(refs.keys() & header.tensors.keys()), None)
        if twice is not None:
            raise SVDError(f"{name} has {twice} in two of its files: download the folder again.")
        refs |= header.tensors
    return refs


def _describe_missing_unet(path: Path) -> str:
    if (path / "config.json").is_file():
        return f"{path.name} is one part of a diffusers model: pick the folder above it, the one that holds unet/."
    files = sorted(path.glob("*.safetensors"))
    if files:
        return f"{path.name} is a folder without unet/: pick a file in it, such as {files[0].name}."
    return f"{path.name} is a folder without unet/, so not a model in the diffusers layout: pick another."


def _read_headers(folder: Path, stem: str) -> Iterator[Header]:
    """Yield the headers of a part's weights: one file or several, full precision before variants; none if absent."""
    for variant in _VARIANTS:
        single = folder / f"{stem}{variant}.safetensors"
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if single.is_file():
            yield read_header(single)
            return
        if index.is_file():
            yield from map(read_header, _list_shards(index))
            return
    pickles = [file for file in sorted(folder.glob(f"{stem}*")) if file.suffix in PICKLE_SUFFIXES]
    if pickles:
        raise SVDError(describe_pickle(pickles[0]))


def _list_shards(index: Path) -> list[Path]:
    weight_map = _read_json(index).get("weight_map")
    named = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not named or any(not isinstance(name, str) or Path(name).name != name for name in named):
        raise SVDError(f"{index.parent.name}/{index.name} is corrupt: download the folder again.")
    names = sorted(set(named))
    for name in names:
        if not os.path.isfile(index.parent / name):
            raise SVDError(f"{index.parent.name}/{name} is missing, one of {len(names)} files: download it too.")
    return [index.parent / name for name in names]


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file."""
    value = read_json(path) if os.path.lexists(path) else {}
    if not isinstance(value, dict):
        raise SVDError(f"{path.parent.name}/{path.name} is unreadable: download the file again.")
    return value


def _get_num_frames(config: Mapping[str, Any]) -> int | None:
    return _check_num_frames(config.get("num_frames"))


def _check_num_frames(value: Any) -> int | None:
    """A trained length; None, with a warning, for what is none."""
    if type(value) is int and 0 < value <= MAX_FRAMES:
        return value
    if value is not None:
        logger.warning(printable(f"The checkpoint states {value!r} frames, which is no length of a clip; not used."))
    return None
