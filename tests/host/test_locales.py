"""Every language has the texts of every node, input, output and option, and no others; English is the nodes' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from checks import locales
from tools.client import JSON

ALIASES = {"img2vid", "stable video", "image to video"}
SYNTAX = set("{}@|$")  # the page would read these as placeholders, links and plurals


@pytest.fixture(scope="module")
def info(comfyui: Path) -> JSON:
    return locales.object_info(comfyui)


def words(content: JSON) -> Iterator[str]:
    for value in content.values():
        if isinstance(value, dict):
            yield from words(value)
        else:
            yield value


def test_english_is_what_the_nodes_say(info: JSON) -> None:
    assert locales.read("en") == locales.texts(info), "run python -m checks.locales"


@pytest.mark.parametrize("language", locales.languages())
def test_all_texts_are_there_and_no_others(info: JSON, language: str) -> None:
    assert locales.keys(locales.read(language)) == locales.keys(locales.texts(info))
    assert all(word.strip() for word in words(locales.read(language)))


@pytest.mark.parametrize("language", locales.languages())
def test_no_text_holds_what_the_page_takes_for_syntax(language: str) -> None:
    assert not [word for word in words(locales.read(language)) if SYNTAX & set(word)]


def test_every_node_is_found_by_what_users_type(info: JSON) -> None:
    assert all(set(node["search_aliases"]) >= ALIASES for node in info.values())


def test_the_texts_of_a_node(info: JSON) -> None:
    """Of one node by hand, so that the tool is not the only witness of its own work."""
    texts = locales.texts(info)["SVD_CLIPImageEncode"]
    assert texts["display_name"] == "CLIP Image Encode"
    assert set(texts["inputs"]) == {"clip_vision", "image", "fit"}
    assert texts["inputs"]["image"] == {"name": "image", "tooltip": "The picture to animate, at any size."}
    assert list(texts["inputs"]["fit"]["options"]) == ["squash", "center crop", "pad"]
    assert texts["outputs"] == {"0": {"name": "CLIP_VISION_OUTPUT", "tooltip": "For VAE Encode Conditioning."}}
