"""Measure the layout of the code: files, floors of imports, circles, names of functions.

    python -m tools.house [--list]

Only `svd_core` and `nodes` count. A room is a folder of the second level; floors are the rooms on the longest chain of
imports. A name begins with a verb if its first word is in verbs.txt. `--list` also prints the names that do not.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("svd_core", "nodes")

# Words that are mostly nouns in this field (scale, step, size, block, ...) are not in the list.
VERBS = frozenset(Path(__file__).with_name("verbs.txt").read_text("utf-8").split())
# Names that torch, argparse or the host prescribe say nothing about ours.
PRESCRIBED = frozenset({"forward", "main"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", action="store_true", help="also print the function names that begin with no verb")
    options = parser.parse_args()
    files = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files}
    rooms = [lines for path, lines in lengths.items() if path.name not in {"__init__.py", "__main__.py"}]
    names = [name for path in files for name in function_names(path)]
    nouns = sorted(name for name in names if not begins_with_verb(name))
    print(f"lines of {' + '.join(PACKAGES)}: {sum(lengths.values())}")
    print(f"files: {len(rooms)}, median {statistics.median(rooms):.0f} lines, longest {max(rooms)}")
    print(f"loose files in svd_core: {len(list((REPOSITORY / 'svd_core').glob('*.py')))}")
    print(f"functions: {len(names)}, of which begin with a verb: {1 - len(nouns) / len(names):.0%}")
    print(count_floors(imports_of_rooms(files)))
    if options.list:
        print(*nouns, sep="\n")


def function_names(path: Path) -> Iterator[str]:
    """Names of all functions and methods; properties are nouns by their nature, and special methods are Python's."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("__"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if node.name not in PRESCRIBED and not decorators & {"property", "cached_property"}:
            yield node.name


def begins_with_verb(name: str) -> bool:
    return name.strip("_").split("_")[0] in VERBS


def imports_of_rooms(files: list[Path]) -> dict[str, set[str]]:
    """Which room imports which; a room is a folder below a package, or a loose file."""
    graph: dict[str, set[str]] = {}
    for path in files:
        here = room_of(path.relative_to(REPOSITORY).with_suffix("").parts)
        found = graph.setdefault(here, set())
        for target in imported_modules(path):
            if (there := room_of(target)) != here:
                found.add(there)
    return graph


def room_of(parts: tuple[str, ...]) -> str:
    return ".".join(parts[:2])


def imported_modules(path: Path) -> Iterator[tuple[str, ...]]:
    """Relative imports of a file, as parts of a module's name from the repository on."""
    package = path.relative_to(REPOSITORY).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + tuple(
                (node.module or "").split(".") if node.module else ()
            )
            for alias in node.names:
                leaf = (*base, alias.name)
                yield leaf if REPOSITORY.joinpath(*leaf).with_suffix(".py").exists() or is_folder(leaf) else base


def is_folder(parts: tuple[str, ...]) -> bool:
    return (REPOSITORY.joinpath(*parts) / "__init__.py").exists()


def count_floors(graph: dict[str, set[str]]) -> str:
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return f"a circle of imports: {' -> '.join(error.args[1])}"
    floors: dict[str, int] = {}
    for room in order:
        floors[room] = 1 + max((floors[below] for below in graph.get(room, ())), default=0)
    return f"circles of imports between rooms: 0; floors: {max(floors.values())}"


if __name__ == "__main__":
    main()
