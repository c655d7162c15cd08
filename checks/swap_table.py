"""Tables of what works with what (docs/works-with.md), from what the host's tests measured.

python -m checks.swap_table              write the tables from benchmarks/results/swaps.json
python -m checks.swap_table --measure    run those tests first, and keep what they measure
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.client import JSON
from tools.comfyui import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results" / "swaps.json"
PAGE = REPOSITORY / "docs" / "works-with.md"
TESTS = [f"tests/host/test_{name}.py" for name in ("swaps", "works_with", "saving")]
START, END = "<!-- swaps, written by checks.swap_table -->", "<!-- end of swaps -->"
NOTHING = "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="run the tests, and replace the results by theirs")
    if parser.parse_args().measure:
        measure(RESULTS)
    write(PAGE, with_tables(PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))))


def measure(results: Path) -> None:
    """Run the tests; the results stay as they are when one fails."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "swaps.json"
        subprocess.run([sys.executable, "-m", "pytest", *TESTS, "--swaps", str(measured)], cwd=REPOSITORY, check=True)
        results.parent.mkdir(parents=True, exist_ok=True)
        write(results, measured.read_text("utf-8"))


def write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, "utf-8")
    beside.replace(path)


def with_tables(page: str, results: JSON) -> str:
    """Replace what stands between the two marks of a page by the tables."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{PAGE.name} lacks the line {START} or {END}; put both back.")
    return f"{before}{START}\n\n{tables(results)}\n\n{END}{after}"


def tables(results: JSON) -> str:
    return "\n".join([*node_table(results["nodes"]), "", *host_table(results["works_with"])])


def node_table(rows: list[JSON]) -> Iterator[str]:
    yield "| Our node | ComfyUI's | Ours in their graph | Theirs in our graph |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row['node']} | {row['counterpart']} | {error(row['ours'])} | {error(row['native'])} |"


def host_table(rows: list[JSON]) -> Iterator[str]:
    yield "| ComfyUI's node | Changes the clip by | Our MODEL | SVD Sampler | Remark |"
    yield "|---|---|---|---|---|"
    for row in rows:
        effect = NOTHING if row.get("effect") is None else f"{row['effect']:.0%}"
        errors = " | ".join(error(row.get(name)) for name in ("model", "sampler"))
        yield f"| {row['node']} | {effect} | {errors} | {row.get('note', '')} |".replace("|  |", "| |")


def error(value: float | None) -> str:
    """A relative error to one digit: 6e-6."""
    if value is None:
        return NOTHING
    digits, _, exponent = f"{value:.0e}".partition("e")
    return f"{digits}e{int(exponent)}" if value else "0"


if __name__ == "__main__":
    main()
