"""The host's public interface, imported in one place: node API, folders, devices, progress."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import comfy.model_management as model_management
import comfy.utils
import folder_paths
from comfy_api.latest import ComfyExtension, io

from ...svd_core.checkpoints.releases import DEMO_CHECKPOINT
from ...svd_core.errors import SVDError, printable
from .file_names import FileNames, match_name

__all__ = [
    "ComfyExtension",
    "ProgressBar",
    "find_checkpoint",
    "find_lora",
    "io",
    "list_checkpoints",
    "list_loras",
    "model_management",
    "offer_picture",
    "show_text",
]

logger = logging.getLogger(__name__)

CATEGORY = "SVD"
ALIASES = ("svd", "img2vid", "stable video", "image to video")  # search words of every node
DIFFUSERS_PREFIX = "diffusers/"
BUNDLED = f"{DEMO_CHECKPOINT.stem} (bundled)"  # not a file name, so it never clashes with one in the model folders

ProgressBar = comfy.utils.ProgressBar


def list_checkpoints() -> FileNames:
    """Names that SVD Loader offers: the bundled model, the host's checkpoint files, diffusers folders.

    The bundled model comes first, so that a new node shows it: it is there on every machine, and it is SVD.
    """
    return FileNames([BUNDLED, *folder_paths.get_filename_list("checkpoints"), *sorted(_find_diffusers_folders())])


def find_checkpoint(name: str) -> Path:
    """The file or folder behind a listed name.

    Raises SVDError for any other name, so that none leads out of the model folders.
    """
    listed = _match(name, list_checkpoints())
    if listed is None:
        raise SVDError(
            f"The checkpoint {name!r} is not in ComfyUI's model folders; choose one from the list, or refresh it."
        )
    if listed == BUNDLED:
        return DEMO_CHECKPOINT
    folders = _find_diffusers_folders()
    return folders[listed] if listed in folders else Path(folder_paths.get_full_path_or_raise("checkpoints", listed))


def list_loras() -> FileNames:
    return FileNames(folder_paths.get_filename_list("loras"))


def find_lora(name: str) -> Path:
    """The file behind a listed name. Raises SVDError for any other name."""
    listed = _match(name, list_loras())
    if listed is None:
        raise SVDError(f"The LoRA {name!r} is not in ComfyUI's loras folder; choose one from the list or refresh it.")
    return Path(folder_paths.get_full_path_or_raise("loras", listed))


def _match(name: str, names: FileNames) -> str | None:
    """The listed name that a workflow means. Logs one that is spelled otherwise."""
    listed = match_name(name, names)
    if listed is not None and listed != name:
        logger.info("%s is not there; %s is taken, the only file of that name.", printable(name), listed)
    return listed


def offer_picture(picture: Path) -> None:
    """Copy an example's picture into the input folder, where Load Image finds it, unless there is one of that name."""
    target = Path(folder_paths.get_input_directory()) / picture.name
    beside = target.with_name(target.name + ".part")
    try:
        if not target.exists():
            shutil.copyfile(picture, beside)
            beside.replace(target)
    except OSError as error:
        logger.warning("The example picture %s could not be put into the input folder: %s", picture.name, error)


def show_text(node: type[io.ComfyNode], text: str) -> None:
    """Write a line below a running node on the page that queued it; nowhere where no page did."""
    node_id = getattr(node.hidden, "unique_id", None)  # `hidden` is None outside a queued graph
    if node_id is None:
        return
    from server import PromptServer  # only there once the host runs as a server

    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(text, node_id)


def _find_diffusers_folders() -> dict[str, Path]:
    """Folders below models/diffusers (and models/checkpoints) that hold a UNet in the diffusers layout.

    They may stand in a folder of their own kind, such as SVD/.
    """
    found: dict[str, Path] = {}
    for root in (*folder_paths.get_folder_paths("diffusers"), *folder_paths.get_folder_paths("checkpoints")):
        for pattern in ("*/*/unet", "*/unet"):
            for unet in Path(root).glob(pattern):
                if any(unet.glob("*.safetensors")):
                    found[DIFFUSERS_PREFIX + unet.parent.relative_to(root).as_posix()] = unet.parent
    return found
