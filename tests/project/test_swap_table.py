"""docs/works-with.md says of the swaps what was measured, and nothing that was not."""

from __future__ import annotations

import json

import pytest

from checks.swap_table import PAGE, RESULTS, error, tables, with_tables

RESULT = json.loads(RESULTS.read_text("utf-8"))
NODES = ("SVD Loader", "CLIP Image Encode", "VAE Encode Conditioning", "SVD Sampler", "Temporal VAE Decode")


def test_the_page_is_what_was_measured() -> None:
    text = PAGE.read_text("utf-8")
    assert with_tables(text, RESULT) == text, "run python -m checks.swap_table"


def test_every_node_was_swapped_both_ways() -> None:
    rows = {row["node"]: row for row in RESULT["nodes"]}
    assert set(NODES) < set(rows)
    assert all(0 <= row[way] <= 1e-3 for row in rows.values() for way in ("ours", "native"))


def test_what_has_no_effect_is_no_row() -> None:
    effects = [row["effect"] for row in RESULT["works_with"] if "effect" in row]
    assert len(effects) >= 15 and min(effects) > 0.01


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0"), (6.4e-6, "6e-6"), (1.2e-15, "1e-15"), (0.3, "3e-1")]
)
def test_errors(value: float | None, text: str) -> None:
    assert error(value) == text


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(SystemExit, match="lacks the line"):
        with_tables("# Nothing here", RESULT)
    assert "| FreeU |" in tables(RESULT)
