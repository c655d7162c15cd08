"""Ours, diffusers and ComfyUI's own classes side by side: `nox -s bench`, or

    python -m benchmarks.run [--cases demo small] [--rounds 5] [--compile] [--out benchmarks/results/speed]

Same weights, shapes, dtype and threads for all; interleaved runs after a warm-up. Writes OUT.json (every figure, with
versions and hardware), OUT.md (the table), OUT.png (times) and OUT-kinds.png (share of time by kind of layer).
The cases at 1024x576 want a GPU and are left out without one; torch.compile is, on a CPU, unless asked for.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from svd_core import SVDPipeline
from tests.support.random_checkpoint import write_checkpoint

from .cases import CASES, Case, UNetInputs, unet_inputs
from .charts import draw_kinds, draw_times
from .growth import grow
from .implementations import COMPILED, DIFFUSERS, IMPLEMENTATIONS, OURS, PART_CLASSES, Part
from .layer_kinds import time_by_kind
from .machine import machine
from .report import table
from .timing import Spread, flops_and_peak, interleaved, matrix_product, relative_error
from .whole_clip import WholeClip

MATRIX = "matrix product"
Row = dict[str, Any]
Ways = dict[str, Callable[[], Any]]


def main() -> None:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    who = [name for name in IMPLEMENTATIONS if name != COMPILED or options.compile or device.type == "cuda"]
    bench = Bench(who, options.rounds, device, dtype)
    for name in options.cases or [name for name, case in CASES.items() if not case.needs_gpu or device.type == "cuda"]:
        bench.run(CASES[name])
        write(bench, options.out)  # after each case: a long run that is stopped leaves what it has
    if not options.no_growth:
        grow(options.out.with_name("growth"), max(options.rounds // 2, 1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), help="by default all that this machine can take")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the CPU, by default what torch takes")
    parser.add_argument("--compile", action="store_true", help="torch.compile for diffusers on a CPU too: minutes each")
    parser.add_argument("--no-growth", action="store_true", help="without the growth over frames and sizes")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed"), help="without a suffix")
    return parser.parse_args()


def write(bench: Bench, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    results = machine(bench.device) | {"dtype": str(bench.dtype), "matrix_tflops": bench.matrix, "rows": bench.rows}
    out.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(results, IMPLEMENTATIONS))
    draw_times(bench.rows, IMPLEMENTATIONS).savefig(out.with_suffix(".png"))
    draw_kinds(bench.rows).savefig(out.with_name(f"{out.name}-kinds.png"))


class Bench:
    def __init__(self, who: list[str], rounds: int, device: torch.device, dtype: torch.dtype) -> None:
        self.who, self.rounds, self.device, self.dtype = who, rounds, device, dtype
        self.rows: list[Row] = []
        self.matrix: list[float] = []  # TFLOP/s in the course of the run

    def run(self, case: Case) -> None:
        """Part by part, so that only one is in memory; the whole clip wants all three, of a small model or on a GPU."""
        whole = case.trained or self.device.type == "cuda"
        parts: dict[str, Part] = {}
        for name in PART_CLASSES:
            parts[name] = PART_CLASSES[name](case, self.device, self.dtype)
            self._part(case, parts[name], name)
            if not whole:
                parts.clear()
                gc.collect()
        if whole:
            clip = WholeClip(case, parts, self.device, self.dtype)
            with torch.inference_mode():
                self._measure(case, "whole clip", {who: clip.run_of(who) for who in self.who}, layers=False)
        if case.trained:
            self._loading(case)

    @torch.inference_mode()
    def _part(self, case: Case, part: Part, name: str) -> None:
        stages = {who: part.stages(who) for who in self.who}
        for stage, given in inputs(case, name, self.device, self.dtype):
            ways: Ways = {who: lambda run=stages[who][stage], given=given: run(given) for who in self.who}
            self._measure(case, stage, ways)

    def _measure(self, case: Case, stage: str, ways: Ways, layers: bool = True) -> None:
        product, product_flops = matrix_product(self.device, self.dtype)
        results = {who: result(way) for who, way in ways.items()}  # which also warms up and compiles
        seconds = interleaved({**ways, MATRIX: product}, self.rounds, self.device)
        self.matrix.append(product_flops / seconds[MATRIX].median / 1e12)
        reference = results[DIFFUSERS if DIFFUSERS in results else OURS]
        for who, way in ways.items():
            row: Row = {"case": case.name, "title": case.title, "stage": stage, "implementation": who}
            row |= {"seconds": seconds[who].as_json(), "error": relative_error(results[who], reference)}
            if who != COMPILED:  # whose operations cannot be watched
                row |= self._looked_into(case, way, seconds[who], layers)
            self.rows.append(row)
            print(summary(row), flush=True)

    @torch.no_grad()
    def _looked_into(self, case: Case, way: Callable[[], Any], seconds: Spread, layers: bool) -> Row:
        count, peak = flops_and_peak(way, self.device)
        rate = count / seconds.median / 1e12
        found = {"flops": count, "peak_bytes": peak, "tflops": rate, "of_matrix_rate": rate / self.matrix[-1]}
        return found | ({"kinds": time_by_kind(way, case.num_frames, self.device)} if layers else {})

    def _loading(self, case: Case) -> None:
        """The file ready to sample, against reading its bytes; the page cache is warm in both."""
        from diffusers import StableVideoDiffusionPipeline

        quiet_diffusers()
        with tempfile.TemporaryDirectory() as folder:
            theirs = write_checkpoint(Path(folder), layout="diffusers", dtype=torch.float32)
            ours = write_checkpoint(Path(folder) / "single.safetensors", dtype=torch.float32)
            ways: Ways = {
                OURS: lambda: SVDPipeline.from_checkpoint(ours, device=self.device),
                DIFFUSERS: lambda: StableVideoDiffusionPipeline.from_pretrained(theirs).to(self.device),
                "reading the bytes": ours.read_bytes,
            }
            for who, spread in interleaved(ways, self.rounds, self.device).items():
                row = {"case": case.name, "title": case.title, "stage": "load a small checkpoint"}
                self.rows.append(row | {"implementation": who, "seconds": spread.as_json()})
                print(summary(self.rows[-1]), flush=True)


def quiet_diffusers() -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def inputs(
    case: Case, part: str, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, UNetInputs | Tensor]]:
    """The stages of a part and what each is given."""
    if part == "unet":
        yield "UNet step", unet_inputs(case, device, dtype)
    elif part == "vae":
        yield "VAE encode", case.draw(5, 1, 3, 8 * case.height, 8 * case.width).clamp(-1, 1).to(device, dtype)
        yield "decode", case.draw(6, case.num_frames, 4, case.height, case.width).to(device, dtype)
    else:
        assert case.config.clip is not None
        side = case.config.clip.image_size
        yield "CLIP", case.draw(7, 1, 3, side, side).to(device, dtype)


def result(way: Callable[[], Tensor]) -> Tensor:
    return way().float().cpu()


def summary(row: Row) -> str:
    seconds = row["seconds"]
    line = f"{row['case']:6} {row['stage']:24} {row['implementation']:20} {seconds['median']:8.3f} s"
    line += f" ({seconds['fastest']:.3f} to {seconds['slowest']:.3f})"
    if "tflops" in row:
        line += f"  {row['tflops']:.3f} TFLOP/s, {row['of_matrix_rate']:.0%} of the matrix rate"
    if "peak_bytes" in row:
        line += f", peak {row['peak_bytes'] / 1e6:.0f} MB"
    return line + (f", error {row['error']:.1e}" if "error" in row else "")


if __name__ == "__main__":
    main()
