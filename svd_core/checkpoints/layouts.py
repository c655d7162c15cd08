"""Where the tensors of each part are: one file, or a folder in the diffusers layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SVDError
from .entries import Refs
from .header import PICKLE_SUFFIXES, Header, pickle_sentence, read_header
from .infer import PARTS, Settings, metadata_settings
from .inventory import CLIP_PREFIX
from .settings import stored_settings

FOLDERS = {"unet": "unet", "vae": "vae", "clip": "image_encoder"}
NUM_FRAMES_KEY = "svd_num_frames"
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "clip": "model"}
_VARIANTS = ("", ".fp16", ".bf16")  # full precision first: it loses nothing, and is read at any dtype


@dataclass(frozen=True)
class Source:
    """The headers of one file or folder, and the settings that come with them."""

    path: Path
    layout: str  # "single file", "comfyui", "diffusers file" or "diffusers folder"
    refs: Mapping[str, Refs]  # by part; a file offers all its tensors to every part
    settings: Mapping[str, Settings]  # by part; fields of the configurations
    num_frames: int | None = None  # trained length, where stated

    @property
    def name(self) -> str:
        return self.path.name


def open_source(path: str | Path) -> Source:
    """Reads the headers at a path; raises SVDError when there is no checkpoint there."""
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    return _open_file(path)


def _open_file(path: Path) -> Source:
    header = read_header(path)
    refs = header.tensors
    settings = stored_settings(path.name, refs) | metadata_settings(path.name, header.metadata)
    layout, num_frames = "single file", _stated_frames(header.metadata)
    if f"{CLIP_PREFIX}vision_model.embeddings.class_embedding" in refs:
        layout = "comfyui"
    elif "conv_in.weight" in refs:
        layout = "diffusers file"
        config = _read_json(path.with_name("config.json"))
        num_frames = num_frames or _num_frames(config)
        settings["unet"] = {**_unet_settings(path.name, config), **settings.get("unet", {})}
    return Source(path, layout, dict.fromkeys(PARTS, refs), settings, num_frames)


def _stated_frames(metadata: Mapping[str, str]) -> int | None:
    """Trained length, as the conversion from a folder writes it down."""
    stated = metadata.get(NUM_FRAMES_KEY, "")
    return int(stated) if stated.isdecimal() and int(stated) > 0 else None


# --- diffusers folders -------------------------------------------------------------------------------------------


def _open_folder(path: Path) -> Source:
    if not (path / FOLDERS["unet"]).is_dir():
        raise SVDError(_no_unet_sentence(path))
    refs: dict[str, Refs] = {}
    settings: dict[str, Settings] = {}
    for part, folder in FOLDERS.items():
        headers = list(_headers(path / folder, STEMS[part]))
        refs[part] = {name: ref for header in headers for name, ref in header.tensors.items()}
        config = _read_json(path / folder / "config.json")
        stated = _CONFIG_SETTINGS[part](f"{path.name}/{folder}", config)
        for header in headers:
            stated |= metadata_settings(header.path.name, header.metadata).get(part, {})
        settings[part] = stated
    if not refs["unet"]:
        raise SVDError(f"{path.name}/unet holds no .safetensors weights: download the folder again.")
    num_frames = _num_frames(_read_json(path / FOLDERS["unet"] / "config.json"))
    return Source(path, "diffusers folder", refs, settings, num_frames)


def _no_unet_sentence(path: Path) -> str:
    if (path / "config.json").is_file():
        return f"{path.name} is one part of a diffusers model: pick the folder above it, the one that holds unet/."
    files = sorted(path.glob("*.safetensors"))
    if files:
        return f"{path.name} is a folder without unet/: pick a file in it, such as {files[0].name}."
    return f"{path.name} is a folder without unet/, so not a model in the diffusers layout: pick another."


def _headers(folder: Path, stem: str) -> Iterator[Header]:
    """The headers of a part's weights: one file or several, full precision before variants; none if it has none."""
    for variant in _VARIANTS:
        single = folder / f"{stem}{variant}.safetensors"
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if single.is_file():
            yield read_header(single)
            return
        if index.is_file():
            yield from map(read_header, _shards(index))
            return
    pickles = [file for file in sorted(folder.glob(f"{stem}*")) if file.suffix in PICKLE_SUFFIXES]
    if pickles:
        raise SVDError(pickle_sentence(pickles[0]))


def _shards(index: Path) -> list[Path]:
    weight_map = _read_json(index).get("weight_map")
    names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise SVDError(f"{index.parent.name}/{index.name} is corrupt: download the folder again.")
    for name in names:
        if not (index.parent / name).is_file():
            raise SVDError(f"{index.parent.name}/{name} is missing, one of {len(names)} files: download it too.")
    return [index.parent / name for name in names]


# --- config.json -------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise SVDError(f"{path.parent.name}/{path.name} is unreadable: download the file again.")
    return value


def _num_frames(config: Mapping[str, Any]) -> int | None:
    num_frames = config.get("num_frames")
    return num_frames if isinstance(num_frames, int) else None


def _unet_settings(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers states heads per level where we state the width of a head."""
    heads, widths = config.get("num_attention_heads"), config.get("block_out_channels")
    if heads is None or not isinstance(widths, list):
        return {}
    heads = heads if isinstance(heads, list) else [heads] * len(widths)
    try:
        head_dims = {width / count for width, count in zip(widths, heads, strict=True)}
    except (TypeError, ValueError, ZeroDivisionError):
        raise SVDError(f"{name}/config.json has unusable num_attention_heads: download the file again.") from None
    if len(head_dims) != 1:
        raise SVDError(f"{name} has attention heads of different widths, which is not supported: pick another model.")
    return {"head_dim": head_dims.pop()}


def _vae_settings(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"scale_factor": config["scaling_factor"]} if "scaling_factor" in config else {}


def _clip_settings(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    activation = config.get("hidden_act", "gelu")
    if activation != "gelu":
        raise SVDError(
            f"{name} uses the activation {activation}; Stable Video Diffusion's encoder uses gelu: pick another."
        )
    names = {"num_attention_heads": "num_heads", "layer_norm_eps": "norm_eps"}
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}


_CONFIG_SETTINGS = {"unet": _unet_settings, "vae": _vae_settings, "clip": _clip_settings}
