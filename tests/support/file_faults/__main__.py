"""Run the rounds and print a line for each fault and writer; the exit code is 1 after any damage."""

from __future__ import annotations

import argparse
import collections
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from .disks import Disk
from .faults import FAULTS
from .writers import Writer, make_writers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="of each fault and writer (200)")
    parser.add_argument("--fault", choices=tuple(FAULTS), action="append", help="only this one; may be given again")
    parser.add_argument("--writer", action="append", help="only those with this in their names; may be given again")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no disk stays mounted
    torch.set_num_threads(1)  # the children are forked
    damage = 0
    with tempfile.TemporaryDirectory(prefix="svd-faults-") as base:
        desk = Path(base)
        desk.chmod(0o755)
        for name in ("read", "tried", "disk", "rounds"):
            (desk / name).mkdir()
        disk = Disk(desk / "disk")
        print(f"small disks can{'' if disk.can_mount else 'not'} be mounted here", flush=True)
        for index, writer in enumerate(make_writers(desk / "read")):
            if not any(words in writer.name for words in options.writer or [""]):
                continue
            (desk / "tried" / str(index)).mkdir()
            writer.try_out(desk / "tried" / str(index))
            for fault in options.fault or FAULTS:
                damage += _run_rounds(fault, writer, desk / "rounds", disk, options.rounds)
    return 1 if damage else 0


def _run_rounds(fault: str, writer: Writer, base: Path, disk: Disk, rounds: int) -> int:
    start, outcomes, damage = time.monotonic(), collections.Counter[str](), 0
    for number in range(rounds):
        folder = base / f"{fault} {writer.name}".replace("/", "_") / str(number)
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        try:
            outcomes[FAULTS[fault](writer, folder, random.Random(f"{fault} {writer.name} {number}"), disk)] += 1
        except AssertionError as error:
            damage += 1
            print(f"  DAMAGE in round {number}: {str(error)[:1000]}", flush=True)
        finally:
            disk.drop()
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(
        f"{fault}, {writer.name}: {rounds} rounds, {damage} damaged, {time.monotonic() - start:.0f} s; {told}",
        flush=True,
    )
    return damage


if __name__ == "__main__":
    sys.exit(main())
