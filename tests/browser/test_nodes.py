"""The nodes on the page: found by what users type, and explained where they stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from comfy_page import ComfyPage

from checks import locales
from tools.host import PACK_NAME

TOO_WIDE = """help => [...help.querySelectorAll("*")]
    .filter(part => part.getBoundingClientRect().right > help.getBoundingClientRect().right + 1)
    .map(part => part.outerHTML.slice(0, 200))"""
NAMES = {node: texts["display_name"] for node, texts in locales.read("en").items()}


@pytest.fixture(scope="module")
def page(open_page: Callable[..., ComfyPage]) -> ComfyPage:
    page = open_page()
    page.close_dialog()
    return page


@pytest.mark.parametrize("alias", ["img2vid", "stable video", "image to video"])
def test_node_is_added_by_an_alias(page: ComfyPage, alias: str) -> None:
    page.clear()
    ours = page.search(alias).filter(has_text=PACK_NAME)
    page.wait_for_count(ours, len(NAMES))
    titles = [found.inner_text().splitlines()[0] for found in ours.all()]
    assert sorted(titles) == sorted(NAMES.values())
    page.screenshot("search_" + alias.replace(" ", "_"))
    page.place(ours, NAMES["SVD_Sampler"])
    (node,) = page.nodes()
    assert (node["type"], node["title"]) == ("SVD_Sampler", NAMES["SVD_Sampler"])


@pytest.mark.parametrize("node", NAMES)
def test_help_opens_and_fits_the_panel(page: ComfyPage, node: str) -> None:
    """The panel is about 270 pixels wide: what does not fit is cut off, and a table never does."""
    shown = page.help(page.put(node), NAMES[node])
    picture = shown.locator("img")
    page.page.wait_for_function("image => image.complete", arg=picture.element_handle())
    page.screenshot(f"help_{node}")
    assert picture.evaluate("image => image.naturalWidth") > 0
    assert not shown.evaluate(TOO_WIDE)
    described = shown.inner_text()
    (on_page,) = page.nodes()
    assert on_page["inputs"]
    assert not [name for name in on_page["inputs"] if name not in described]
