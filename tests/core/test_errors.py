"""Error sentences that the whole core shares."""

from __future__ import annotations

import pytest

from svd_core.errors import SVDError, choose, needing


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
