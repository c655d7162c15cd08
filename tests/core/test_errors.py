"""Error sentences that the whole core shares."""

from __future__ import annotations

import pytest

from svd_core.errors import MAX_LINE, SVDError, choose, needing


def test_choose_returns_the_option_and_lists_them_otherwise():
    assert choose("sampler", "heun", {"euler": 1, "heun": 2}) == "heun"
    with pytest.raises(SVDError) as error:
        choose("sampler", "fast", ("euler", "heun"))
    assert str(error.value) == "There is no sampler named 'fast'; choose one of euler, heun."


def test_a_broken_library_is_named_with_the_way_to_mend_it():
    with (
        pytest.raises(SVDError, match=r"Reading a video needs the Python library av, .*pip install .* av$"),
        needing("av", "Reading a video"),
    ):
        raise OSError("libavcodec.so is missing")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred\nline2", r"\x1b[31mred\nline2"),
        ("a\0b\t\r", r"a\x00b\t\r"),
        ("\ud800\u2028\u202e", r"\ud800\u2028\u202e"),
        ("\x9b31m", r"\x9b31m"),
        ("写真 π.png", "写真 π.png"),
    ],
)
def test_a_sentence_is_one_printable_line_whatever_the_name(name: str, shown: str) -> None:
    assert str(SVDError(f"{name} is empty: pick another.")) == f"{shown} is empty: pick another."


@pytest.mark.parametrize("name", ["a" * 5000, "b c " * 2000, "\0" * 3000])
def test_a_sentence_is_short_and_keeps_what_to_do(name: str) -> None:
    text = str(SVDError(f"{name} is empty: pick another."))
    assert len(text) <= MAX_LINE
    assert text.startswith(name[:3].replace("\0", "\\x00")) and text.endswith(" is empty: pick another.")
    assert str(SVDError(text)) == text
