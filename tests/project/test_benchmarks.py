"""The benchmarks' own arithmetic, on small cases."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import charts, report, speed_modes
from benchmarks.cases import CASES, unet_inputs
from benchmarks.implementations import DIFFUSERS, IMPLEMENTATIONS, OURS, PART_CLASSES
from benchmarks.layer_kinds import (
    CONV,
    LINEAR,
    NORM,
    SPATIAL_ATTENTION,
    TEMPORAL_ATTENTION,
    TEMPORAL_CONV,
    time_by_kind,
)
from benchmarks.run import inputs
from benchmarks.timing import flops_and_peak, interleaved, matrix_product, relative_error
from svd_core import DEMO_CHECKPOINT, SVDPipeline
from training.evaluate import BUCKET
from training.scenes import scene_of

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def logging_as_before() -> Iterator[None]:
    """The benchmark silences ComfyUI for its whole process; other tests read the log."""
    level = logging.root.manager.disable
    yield
    logging.disable(level)


def test_implementations_hold_the_same_weights_and_agree() -> None:
    """On a smaller clip of the bundled model."""
    case = replace(CASES["demo"], num_frames=3, height=4, width=4)
    for name, part_class in PART_CLASSES.items():
        part = part_class(case, CPU, torch.float32)
        ours, theirs = part.stages(OURS), part.stages(DIFFUSERS)
        with torch.inference_mode():
            for stage, given in inputs(case, name, CPU, torch.float32):
                assert relative_error(ours[stage](given), theirs[stage](given)) < 1e-5, stage


def test_guidance_branches_differ() -> None:
    given = unet_inputs(CASES["demo"], CPU, torch.float32)
    assert not given.context[0].any() and given.context[1].any()
    assert not given.x[0, :, 4:].any() and given.x[1, :, 4:].any()
    assert torch.equal(given.x[0, :, :4], given.x[1, :, :4])


def test_flops_and_peak_of_a_product() -> None:
    product, expected = matrix_product(CPU, torch.float32)
    counted, peak = flops_and_peak(product, CPU)
    assert counted == expected
    assert peak == 4 * 2048**2


def test_flops_of_attention() -> None:
    q, k = torch.randn(2, 3, 5, 16), torch.randn(2, 3, 7, 16)
    with torch.no_grad():
        counted, _ = flops_and_peak(lambda: F.scaled_dot_product_attention(q, k, k), CPU)
    assert counted == 2 * 2 * 3 * 5 * 7 * (16 + 16)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_operations_are_told_apart(mode: type[torch.no_grad]) -> None:
    x, tokens = torch.randn(2, 8, 4, 4), torch.randn(2, 1, 16, 8)
    calls = {
        CONV: lambda: F.conv2d(x, torch.randn(8, 8, 3, 3)),
        TEMPORAL_CONV: lambda: F.conv2d(x, torch.randn(8, 8, 3, 1)),
        LINEAR: lambda: F.linear(tokens, torch.randn(8, 8)),
        NORM: lambda: F.group_norm(x, 2),
        SPATIAL_ATTENTION: lambda: F.scaled_dot_product_attention(tokens, tokens, tokens),
        TEMPORAL_ATTENTION: lambda: F.scaled_dot_product_attention(*3 * [tokens[:, :, :5]]),
    }
    for kind, call in calls.items():
        with mode():
            seconds = time_by_kind(call, 5, CPU)
        assert seconds[kind] > 0, kind
        assert not any(seconds[other] for other in calls if other != kind), kind


def test_runs_take_turns() -> None:
    turns: list[str] = []
    ways = {name: lambda name=name: turns.append(name) for name in "ab"}
    assert interleaved(ways, 3, CPU)["a"].runs == 3
    assert turns == list("ababab")


def test_table_and_charts_of_results(tmp_path: Path) -> None:
    seconds = {"median": 1.0, "fastest": 0.9, "slowest": 1.1, "runs": 3}
    row = {"case": "demo", "title": "bundled model", "stage": "decode", "kinds": dict.fromkeys("abcdefg", 1.0)}
    rows = [row | {"implementation": OURS, "seconds": seconds, "of_matrix_rate": 0.5}]
    rows.append(row | {"implementation": DIFFUSERS, "seconds": seconds | {"median": 2.0}})
    results = {"rows": rows, "dtype": "torch.float32", "versions": {"torch": "2"}}
    results["hardware"] = {"cpu": "one", "threads": 2, "gpu": None}
    assert "| bundled model: decode | 1 s, 50% | 2 s (2.00x) |" in report.table(results, IMPLEMENTATIONS)
    for figure in (charts.draw_times(rows, IMPLEMENTATIONS), charts.draw_kinds(rows)):
        figure.savefig(tmp_path / "chart.png")
    (bars,) = charts.draw_times(rows, IMPLEMENTATIONS).axes
    assert [bar.get_width() for bar in bars.patches] == [1.0, 2.0]
    point = {"stage": "decode", "num_frames": 8, "side": 64, "seconds": 1.0, "flops": 10}
    point |= {"peak_bytes": 1000, "planned_bytes": 1000}
    growth = {
        over: [point, point | {key: 2 * point[key] for key in point if key != "stage"}] for over in ("frames", "sizes")
    }
    panels = charts.draw_growth(growth).axes
    assert [axes.get_title() for axes in panels] == 2 * ["seconds", "peak memory, MB"]
    assert all(list(axes.lines[1].get_ydata()) == list(axes.lines[0].get_ydata()) for axes in panels)


def test_speed_modes_are_compared_with_exact() -> None:
    pipe = SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu")
    ways = {way: {"num_inference_steps": 4, **own} for way, own in list(speed_modes.WAYS.items())[:3]}
    figures = speed_modes.over_scenes(pipe, [scene_of(0)], (BUCKET,), {}, ways)
    assert list(figures) == ["exact", "balanced", "fastest"]
    assert figures["exact"].error == [] and figures["exact"].branches == [8]
    assert 4 < figures["balanced"].branches[0] < 8
    assert all(0 < figures[way].summary()["error"] < 0.1 for way in ("balanced", "fastest"))
