"""What the files of `nodes/` ask of ComfyUI: names that stand for something there, and calls on its objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.comfyui import REPOSITORY

from .host_source import Found, HostSource, dotted, statements, target_names

NODES, ROOM = REPOSITORY / "nodes", "host"

# What is asked of the host's objects, whose class our files do not name.
OBJECTS = """
comfy.model_patcher.ModelPatcher.add_patches(patches, strength)
comfy.model_patcher.ModelPatcher.add_wrapper_with_key(kind, key, wrapper)
comfy.model_patcher.ModelPatcher.clone()
comfy.model_patcher.ModelPatcher.get_attachment(key)
comfy.model_patcher.ModelPatcher.get_free_memory(device)
comfy.model_patcher.ModelPatcher.is_dynamic()
comfy.model_patcher.ModelPatcher.load_device
comfy.model_patcher.ModelPatcher.model
comfy.model_patcher.ModelPatcher.model_options
comfy.model_patcher.ModelPatcher.set_attachments(key, value)
comfy.samplers.CFGGuider.sample(x, x, sampler, sigmas, denoise_mask=x, callback=x, disable_pbar=x, seed=x)
comfy.utils.ProgressBar.update(1)
comfy.utils.ProgressBar.update_absolute(step, total, picture)
comfy.sd.VAE.encode(pixels)
comfy.sd.VAE.latent_channels
comfy.sd.VAE.spacial_compression_encode()
comfy.sd.VAE.throw_exception_if_invalid()
comfy.clip_vision.ClipVisionModel.load_device
comfy.clip_vision.ClipVisionModel.model
comfy.clip_vision.ClipVisionModel.patcher
comfy.supported_models.SVD_img2vid.latent_format
comfy.supported_models.SVD_img2vid.set_inference_dtype(dtype, compute_dtype)
comfy.supported_models.SVD_img2vid.supported_inference_dtypes
comfy.model_base.BaseModel.diffusion_model
comfy.model_base.BaseModel.latent_format
comfy.latent_formats.SD15.latent_rgb_factors
comfy.latent_formats.SD15.latent_rgb_factors_bias
comfy.latent_formats.SD15.taesd_decoder_name
comfy.context_windows.IndexListContextWindow.index_list
latent_preview.LatentPreviewer.decode_latent_to_preview_image("JPEG", x)
server.PromptServer.send_progress_text(text, node_id)
"""


@dataclass(frozen=True)
class OurFile:
    """One file of ours, and what its names stand for in the host."""

    path: Path
    tree: ast.Module
    names: dict[str, str]

    def host_name(self, node: ast.expr) -> str:
        """The dotted name in the host that an expression is, else nothing."""
        first, _, rest = dotted(node).partition(".")
        known = self.names.get(first)
        return "" if known is None else f"{known}.{rest}" if rest else known


@dataclass(frozen=True)
class Stand:
    """A class of ours in the host's place, and the class of the host under it."""

    file: OurFile
    cls: ast.ClassDef
    base: Found

    def __str__(self) -> str:
        return f"{self.file.path.name}: {self.cls.name}"


def read_files(folder: Path) -> list[OurFile]:
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))}
    shared = {path.stem: host_names(tree, {}) for path, tree in trees.items() if path.parent.name == ROOM}
    return [OurFile(path, tree, host_names(tree, shared)) for path, tree in trees.items()]


def host_names(tree: ast.Module, shared: dict[str, dict[str, str]]) -> dict[str, str]:
    """Names of a file that stand for something of the host. shared: those of the files in `nodes/host/`, by file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            own = shared.get((node.module or "").split(".")[-1], {}) if node.level else None
            for alias in node.names:
                full = f"{node.module}.{alias.name}" if own is None else own.get(alias.name)
                names |= {} if full is None else {alias.asname or alias.name: full}
    for node in statements(tree.body):
        if isinstance(node, ast.Assign) and dotted(node.value).partition(".")[0] in names:
            first, _, rest = dotted(node.value).partition(".")
            names |= dict.fromkeys(target_names(node), f"{names[first]}.{rest}" if rest else names[first])
    return names


def read_stands(host: HostSource, files: list[OurFile]) -> Iterator[Stand]:
    """The classes in `nodes/host/` that are made from one of the host's."""
    for file in (file for file in files if file.path.parent.name == ROOM):
        for cls in (node for node in file.tree.body if isinstance(node, ast.ClassDef)):
            for base in filter(None, map(file.host_name, cls.bases)):
                found = host.find(base)
                if found is not None and isinstance(found.node, ast.ClassDef):
                    yield Stand(file, cls, found)
