"""The source of a ComfyUI, read and never run: what stands there under a dotted name such as comfy.sd.VAE.decode."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef | ast.Module


@dataclass(frozen=True)
class Found:
    """A definition and the module it is in; None for a value, of which only the name is known."""

    node: Definition | None
    module: str


class HostSource:
    """The modules of one ComfyUI, parsed when they are asked for."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.parsed: dict[str, ast.Module | None] = {}
        self.found: dict[str, Found | None] = {}

    def module(self, name: str) -> ast.Module | None:
        if name not in self.parsed:
            path = self.tree.joinpath(*name.split("."))
            files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
            text = files[0].read_text("utf-8") if files else "" if path.is_dir() else None
            self.parsed[name] = None if text is None else ast.parse(text)
        return self.parsed[name]

    def find(self, name: str) -> Found | None:
        """What a dotted name stands for; None where the host has no such thing."""
        if name not in self.found:
            self.found[name] = self._look_up(name)
        return self.found[name]

    def _look_up(self, name: str) -> Found | None:
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            module = ".".join(parts[:length])
            if (tree := self.module(module)) is not None:
                break
        else:
            return Found(None, "")  # of a library
        found: Found | None = Found(tree, module)
        for part in parts[length:]:
            if found is None or found.node is None:
                return found
            found = self.member(found, part)
        return found

    def member(self, owner: Found, name: str) -> Found | None:
        """A name in a module, or of a class, its bases and its objects."""
        if isinstance(owner.node, ast.Module):
            return self._in_module(owner.module, owner.node, name)
        if not isinstance(owner.node, ast.ClassDef):
            return Found(None, owner.module)
        for cls in self.line(owner):
            assert isinstance(cls.node, ast.ClassDef)
            for node in cls.node.body:
                if isinstance(node, Function | ast.ClassDef) and node.name == name:
                    return Found(node, cls.module)
            if name in assigned_names(cls.node) | self_attributes(cls.node, ("self", cls.node.name)):
                return Found(None, cls.module)
        return None

    def line(self, cls: Found) -> Iterator[Found]:
        """A class and, after it, those of its bases that the host defines."""
        yield cls
        for base in cls.node.bases if isinstance(cls.node, ast.ClassDef) else ():
            found = self.find(f"{cls.module}.{dotted(base)}") if dotted(base) else None
            if found is not None and isinstance(found.node, ast.ClassDef):
                yield from self.line(found)

    def _in_module(self, module: str, tree: ast.Module, name: str) -> Found | None:
        for node in statements(tree.body):
            if isinstance(node, Function | ast.ClassDef) and node.name == name:
                return Found(node, module)
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if (alias.asname or alias.name.split(".")[0]) == name:
                        return self.find(alias.name if alias.asname else name)
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name == "*" or (alias.asname or alias.name) == name:
                        found = self.find(
                            f"{self._source_of(module, node)}.{name if alias.name == '*' else alias.name}"
                        )
                        if found is not None or alias.name != "*":
                            return found
            if isinstance(node, ast.Assign) and name in target_names(node):
                path = dotted(node.value)
                return self.find(f"{module}.{path}") if path and path != name else Found(None, module)
            if isinstance(node, ast.AnnAssign) and name in target_names(node):
                return Found(None, module)
        return None

    def _source_of(self, module: str, node: ast.ImportFrom) -> str:
        """The absolute name of the module that a `from` statement imports from."""
        if not node.level:
            return node.module or ""
        package = module.split(".")
        inside = self.tree.joinpath(*package).is_dir()
        up = node.level - 1 if inside else node.level
        return ".".join([*package[: len(package) - up], *([node.module] if node.module else [])])


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those below `if`, `try` and `with` too, but not those of its functions."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for name in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, name, []))
            for handler in getattr(node, "handlers", ()):
                yield from statements(handler.body)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression that is just that, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def target_names(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def assigned_names(cls: ast.ClassDef) -> set[str]:
    return {name for node in cls.body if isinstance(node, ast.Assign | ast.AnnAssign) for name in target_names(node)}


def self_attributes(node: ast.AST, owners: tuple[str, ...] = ("self",)) -> set[str]:
    """Names that are set as `self.name`."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and dotted(part.value) in owners
    }


def signature(function: Function, bound: bool) -> inspect.Signature:
    """Of a function's text. bound: without its first parameter."""
    kinds, args = inspect.Parameter, function.args
    plain = [*args.posonlyargs, *args.args]
    required = len(plain) - len(args.defaults)
    parameters = [
        kinds(arg.arg, kinds.POSITIONAL_OR_KEYWORD, default=kinds.empty if index < required else None)
        for index, arg in enumerate(plain)
    ][int(bound or any(dotted(decorator) == "classmethod" for decorator in function.decorator_list)) :]
    parameters += [kinds(args.vararg.arg, kinds.VAR_POSITIONAL)] if args.vararg else []
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        parameters.append(kinds(arg.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None))
    parameters += [kinds(args.kwarg.arg, kinds.VAR_KEYWORD)] if args.kwarg else []
    return inspect.Signature(parameters)
