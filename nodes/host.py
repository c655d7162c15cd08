"""The host's public surface, imported in one place: node API, folders, devices, progress."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management as model_management
import comfy.utils
import folder_paths
from comfy_api.latest import ComfyExtension, io

from ..svd_core.errors import SVDError

__all__ = ["ComfyExtension", "ProgressBar", "checkpoint_names", "checkpoint_path", "io", "model_management"]

CATEGORY = "SVD"
DIFFUSERS_PREFIX = "diffusers/"

ProgressBar = comfy.utils.ProgressBar


def checkpoint_names() -> list[str]:
    """What SVD Loader offers: the checkpoint files as the host lists them, then diffusers folders."""
    return [*folder_paths.get_filename_list("checkpoints"), *sorted(_diffusers_folders())]


def checkpoint_path(name: str) -> Path:
    """The file or folder behind a listed name. Only listed names are found, so none can lead out of the folders."""
    folders = _diffusers_folders()
    if name in folders:
        return folders[name]
    if name in folder_paths.get_filename_list("checkpoints"):
        return Path(folder_paths.get_full_path_or_raise("checkpoints", name))
    raise SVDError(f"The checkpoint {name!r} is not in ComfyUI's model folders; choose one of the list, or refresh it.")


def _diffusers_folders() -> dict[str, Path]:
    """Folders below models/diffusers (and models/checkpoints) that hold a UNet in the diffusers layout."""
    roots = [*folder_paths.get_folder_paths("diffusers"), *folder_paths.get_folder_paths("checkpoints")]
    found = (unet.parent for root in roots for unet in Path(root).glob("*/unet") if any(unet.glob("*.safetensors")))
    return {DIFFUSERS_PREFIX + folder.name: folder for folder in found}
