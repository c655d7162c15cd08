"""What `nodes/host/` takes from ComfyUI and what ComfyUI takes from its classes, against the source of a ComfyUI.

    python -m checks.host_interface [FOLDER ...]

Nothing is imported or started. Calls and names are read from our files; for calls on objects see `OBJECTS`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.comfyui import REPOSITORY, find_comfyui

from .host_source import (
    Found,
    Function,
    HostSource,
    assigned_names,
    dotted,
    self_attributes,
    signature,
    statements,
    target_names,
)

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


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or [find_comfyui()]
    sys.exit("\n".join(f"{folder.name}: {fault}" for folder in folders for fault in find_breaks(folder)) or 0)


def find_breaks(comfyui: Path, folder: Path = NODES) -> list[str]:
    """Everything in which this ComfyUI and our files no longer fit, a sentence each."""
    host, files = HostSource(comfyui), read_files(folder)
    faults = [fault for file in files for fault in [*missing_names(host, file), *wrong_calls(host, file)]]
    faults += [fault for line in OBJECTS.strip().splitlines() for fault in wrong_line(host, line)]
    for file in (file for file in files if file.path.parent.name == ROOM):
        for cls in (node for node in file.tree.body if isinstance(node, ast.ClassDef)):
            for base in host_bases(host, file, cls):
                faults += [*missing_of_base(host, file, cls, base), *refused_calls(host, file, cls, base)]
                faults += missing_attributes(host, file, cls, base)
    return sorted(set(faults))


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
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
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


def missing_names(host: HostSource, file: OurFile) -> Iterator[str]:
    for node in ast.walk(file.tree):
        name = file.host_name(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        if name and host.find(name) is None:
            yield f"{file.path.name} asks for {name}, which is not there"


def wrong_calls(host: HostSource, file: OurFile) -> Iterator[str]:
    for node in ast.walk(file.tree):
        name = file.host_name(node.func) if isinstance(node, ast.Call) else ""
        if name and isinstance(node, ast.Call):
            yield from wrong_call(host, file.path.name, name, node, bound=False)


def wrong_line(host: HostSource, line: str) -> Iterator[str]:
    """A line of OBJECTS: a method with the arguments it is called with, or an attribute."""
    node = ast.parse(line, mode="eval").body
    name = dotted(node.func if isinstance(node, ast.Call) else node)
    if host.find(name) is None:
        yield f"{name} is not there"
    elif isinstance(node, ast.Call):
        yield from wrong_call(host, "a file", name, node, bound=True)


def wrong_call(host: HostSource, file: str, name: str, call: ast.Call, bound: bool) -> Iterator[str]:
    """A sentence if the host's function does not take the arguments of a call."""
    found = host.find(name)
    function = found.node if found is not None else None
    if found is not None and isinstance(function, ast.ClassDef):
        made = host.member(found, "__init__")
        if made is None and (unknown := {word.arg for word in call.keywords} - fields(host, found) - {None}):
            yield f"{file} makes {name} with {sorted(filter(None, unknown))}, which it does not take"
        function, bound = None if made is None else made.node, True
    if not isinstance(function, Function):
        return
    starred = any(isinstance(arg, ast.Starred) for arg in call.args) or any(word.arg is None for word in call.keywords)
    expected, words = signature(function, bound), {word.arg: None for word in call.keywords if word.arg}
    try:
        (expected.bind_partial if starred else expected.bind)(*call.args, **words)
    except TypeError as error:
        yield f"{file} calls {name}{ast.unparse(call)[len(ast.unparse(call.func)) :]}: {error}"


def fields(host: HostSource, cls: Found) -> set[str]:
    """Names in the bodies of a dataclass and those under it."""
    return {
        name for part in host.line(cls) if isinstance(part.node, ast.ClassDef) for name in assigned_names(part.node)
    }


def host_bases(host: HostSource, file: OurFile, cls: ast.ClassDef) -> Iterator[Found]:
    for base in cls.bases:
        found = host.find(name) if (name := file.host_name(base)) else None
        if found is not None and isinstance(found.node, ast.ClassDef):
            yield found


def missing_of_base(host: HostSource, file: OurFile, cls: ast.ClassDef, base: Found) -> Iterator[str]:
    """What our class takes from the host's under it, as `self.name` or `super().name`."""
    own = assigned_names(cls) | self_attributes(cls) | {node.name for node in cls.body if isinstance(node, Function)}
    for node in ast.walk(cls):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Store):
            continue
        above = isinstance(node.value, ast.Call) and dotted(node.value.func) == "super"
        asked = above or (dotted(node.value) == "self" and node.attr not in own)
        if asked and not node.attr.startswith("__") and host.member(base, node.attr) is None:
            yield f"{file.path.name}: {cls.name} asks for {node.attr}, which its class in the host does not have"


def refused_calls(host: HostSource, file: OurFile, cls: ast.ClassDef, base: Found) -> Iterator[str]:
    """Methods of ours that do not take what the host's method of that name takes."""
    for ours in (node for node in cls.body if isinstance(node, Function) and node.name != "__init__"):
        theirs = host.member(base, ours.name)
        if theirs is None or not isinstance(theirs.node, Function):
            continue
        parameters = signature(theirs.node, bound=True).parameters.values()
        placed = [part.name for part in parameters if part.kind in (part.POSITIONAL_OR_KEYWORD, part.VAR_POSITIONAL)]
        needed = [part.name for part in parameters if part.default is part.empty and part.name in placed]
        words = {part.name: None for part in parameters if part.name not in needed}
        try:
            signature(ours, bound=True).bind(*needed, **words)
        except TypeError as error:
            yield f"{file.path.name}: {cls.name}.{ours.name} is called with {needed} and {sorted(words)}: {error}"


def missing_attributes(host: HostSource, file: OurFile, cls: ast.ClassDef, base: Found) -> Iterator[str]:
    """Attributes that the host's constructors set always, and that neither ours nor those it calls set."""
    own = assigned_names(cls) | self_attributes(cls)
    ours = [node for node in cls.body if isinstance(node, Function) and node.name == "__init__"]
    if not ours:
        return
    for call in (node for node in ast.walk(ours[0]) if isinstance(node, ast.Call)):
        above = dotted(call.func).endswith(".__init__")
        of_super = isinstance(call.func, ast.Attribute) and call.func.attr == "__init__" and not above
        called = base if of_super else host.find(file.host_name(call.func).removesuffix(".__init__")) if above else None
        own |= constructor_attributes(host, called, to_return=True) if called is not None else set()
    for name in sorted(constructor_attributes(host, base) - own):
        yield f"{file.path.name}: {cls.name} has no {name}, which its class in the host has"


def constructor_attributes(host: HostSource, cls: Found, to_return: bool = False) -> set[str]:
    """Attributes that are set whatever the arguments are. to_return: those before a return in the midst only."""
    names: set[str] = set()
    for part in host.line(cls):
        assert isinstance(part.node, ast.ClassDef)
        for node in part.node.body:
            if isinstance(node, Function) and node.name == "__init__":
                names |= always_set(node.body, to_return)
    return names


def always_set(body: list[ast.stmt], to_return: bool) -> set[str]:
    names: set[str] = set()
    for node in body:
        if to_return and any(isinstance(part, ast.Return) for part in ast.walk(node)):
            return names
        if isinstance(node, ast.If):
            names |= always_set(node.body, False) & always_set(node.orelse, False)
        elif isinstance(node, ast.With | ast.Try):
            names |= always_set(node.body, False)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= self_attributes(node)
    return names


def unknown_keywords_refused(folder: Path = NODES) -> list[str]:
    """Methods of ours in the host's place that a newer host could not hand a new keyword to."""
    host, refused = HostSource(find_comfyui()), []
    for file in (file for file in read_files(folder) if file.path.parent.name == ROOM):
        for cls in (node for node in file.tree.body if isinstance(node, ast.ClassDef)):
            for base in host_bases(host, file, cls):
                for ours in (node for node in cls.body if isinstance(node, Function) and node.name != "__init__"):
                    takes = signature(ours, bound=True).parameters.values()
                    theirs = host.member(base, ours.name)
                    if theirs is not None and takes and not any(part.kind is part.VAR_KEYWORD for part in takes):
                        refused.append(f"{cls.name}.{ours.name}")
    return refused


if __name__ == "__main__":
    main()
