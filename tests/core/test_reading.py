"""Files of others: what is no file, and JSON with the limits that Python's own reader lacks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from svd_core.errors import SVDError
from svd_core.reading import check_file, parse_json, read_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[Infinity]", "Infinity for a number"),
        ("[-Infinity]", "-Infinity for a number"),
        ("[NaN]", "NaN for a number"),
        ("[1e999]", "1e999, which is too large"),
        ("9" * 5000, "a number of 5000 digits"),
        ("1" + "0" * 400, "a number of 401 digits"),
        ('{"a": 1, "b": 2, "a": 3}', "the name a is in it twice"),
        (b'{"a": "\xff"}', "codec can't decode"),
        ("", "Expecting value"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_json_that_breaks_its_users_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_json_of_settings_is_read() -> None:
    value = {"a": [1, 2.5, -3, True, None, "x"], "b": {"c": {"d": [[]]}}, "seed": 2**64 - 1}
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value).encode()) == value
    assert parse_json(b"\xef\xbb\xbf{}") == {}, "editors on Windows put a mark in front"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(SVDError, match=r"x\.safetensors is a pipe or a device, not a file"):
        check_file(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "does not exist"),
        ("a" * 5000, "cannot be read"),
        ("a\0b", r"a\\x00b cannot be read"),
        ("\ud800", r"\\ud800 cannot be read"),
        ("folder", "is a folder, not a file"),
        ("loop", "cannot be read"),
    ],
)
def test_a_path_that_leads_to_no_file(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for read in (check_file, read_json):
        with pytest.raises(SVDError, match=reason) as caught:
            read(tmp_path / name)
        assert len(str(caught.value)) < 1500


def test_a_file_too_large_for_settings(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(SVDError, match=r"config\.json is no file of settings"):
        read_json(tmp_path / "config.json")
