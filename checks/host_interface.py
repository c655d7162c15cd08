"""What `nodes/host/` takes from ComfyUI and what ComfyUI takes from its classes, against the source of a ComfyUI.

    python -m checks.host_interface [FOLDER ...]

Nothing is imported or started. Calls and names are read from our files; for calls on objects see `host_uses.OBJECTS`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.comfyui import find_comfyui

from .host_source import Found, Function, HostSource, assigned_names, dotted, self_attributes, signature
from .host_uses import NODES, OBJECTS, OurFile, Stand, read_files, read_stands


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or [find_comfyui()]
    sys.exit("\n".join(f"{folder.name}: {fault}" for folder in folders for fault in find_breaks(folder)) or 0)


def find_breaks(comfyui: Path, folder: Path = NODES) -> list[str]:
    """Everything in which this ComfyUI and our files no longer fit, a sentence each."""
    host, files = HostSource(comfyui), read_files(folder)
    faults = [fault for file in files for fault in [*missing_names(host, file), *wrong_calls(host, file)]]
    faults += [fault for line in OBJECTS.strip().splitlines() for fault in wrong_line(host, line)]
    for stand in read_stands(host, files):
        faults += [*missing_of_base(host, stand), *refused_calls(host, stand), *missing_attributes(host, stand)]
    return sorted(set(faults))


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


def missing_of_base(host: HostSource, stand: Stand) -> Iterator[str]:
    """What our class takes from the host's under it, as `self.name` or `super().name`."""
    cls = stand.cls
    own = assigned_names(cls) | self_attributes(cls) | {node.name for node in cls.body if isinstance(node, Function)}
    for node in ast.walk(cls):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Store):
            continue
        above = isinstance(node.value, ast.Call) and dotted(node.value.func) == "super"
        asked = above or (dotted(node.value) == "self" and node.attr not in own)
        if asked and not node.attr.startswith("__") and host.member(stand.base, node.attr) is None:
            yield f"{stand} asks for {node.attr}, which its class in the host does not have"


def replaced_methods(host: HostSource, stand: Stand) -> Iterator[tuple[Function, Function]]:
    """Methods of ours and, beside each, the host's method of that name, which calls reached before."""
    for ours in stand.cls.body:
        theirs = host.member(stand.base, ours.name) if isinstance(ours, Function) else None
        if isinstance(ours, Function) and ours.name != "__init__" and theirs and isinstance(theirs.node, Function):
            yield ours, theirs.node


def refused_calls(host: HostSource, stand: Stand) -> Iterator[str]:
    """Methods of ours that do not take what the host's method of that name takes."""
    for ours, theirs in replaced_methods(host, stand):
        parameters = signature(theirs, bound=True).parameters.values()
        placed = [part.name for part in parameters if part.kind in (part.POSITIONAL_OR_KEYWORD, part.VAR_POSITIONAL)]
        needed = [part.name for part in parameters if part.default is part.empty and part.name in placed]
        words = {part.name: None for part in parameters if part.name not in needed}
        try:
            signature(ours, bound=True).bind(*needed, **words)
        except TypeError as error:
            yield f"{stand}.{ours.name} is called with {needed} and {sorted(words)}: {error}"


def missing_attributes(host: HostSource, stand: Stand) -> Iterator[str]:
    """Attributes that the host's constructors set always, and that neither ours nor those it calls set."""
    own = assigned_names(stand.cls) | self_attributes(stand.cls)
    ours = [node for node in stand.cls.body if isinstance(node, Function) and node.name == "__init__"]
    if not ours:
        return
    for call in (node.func for node in ast.walk(ours[0]) if isinstance(node, ast.Call)):
        if isinstance(call, ast.Attribute) and call.attr == "__init__":  # of `super()`, or of a class that is named
            called = host.find(stand.file.host_name(call.value)) if dotted(call) else stand.base
            own |= constructor_attributes(host, called, to_return=True) if called is not None else set()
    for name in sorted(constructor_attributes(host, stand.base) - own):
        yield f"{stand} has no {name}, which its class in the host has"


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
    for stand in read_stands(host, read_files(folder)):
        for ours, _ in replaced_methods(host, stand):
            takes = signature(ours, bound=True).parameters.values()
            if takes and not any(part.kind is part.VAR_KEYWORD for part in takes):
                refused.append(f"{stand}.{ours.name}")
    return refused


if __name__ == "__main__":
    main()
