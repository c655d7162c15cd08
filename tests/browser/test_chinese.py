"""The page in Simplified Chinese."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from comfy_page import ComfyPage

from checks import locales
from tools.host import PACK_NAME

TEXTS = locales.read("zh")


@pytest.fixture(scope="module")
def page(open_page: Callable[..., ComfyPage]) -> ComfyPage:
    page = open_page("zh")
    page.load_template(PACK_NAME, "image_to_video")
    page.screenshot("chinese")
    return page


def test_nodes_of_the_example_have_their_chinese_names(page: ComfyPage) -> None:
    ours = [node for node in page.nodes() if node["type"] in TEXTS]
    assert len(ours) == 5
    for node in ours:
        texts = TEXTS[node["type"]]
        assert node["title"] == texts["display_name"]
        assert set(node["inputs"]) <= {entry["name"] for entry in texts["inputs"].values()}
        assert node["outputs"] == [entry["name"] for entry in texts["outputs"].values()]


def test_help_is_chinese(page: ComfyPage) -> None:
    (sampler,) = (node for node in page.nodes() if node["type"] == "SVD_Sampler")
    shown = page.help(sampler["id"], TEXTS["SVD_Sampler"]["display_name"])
    assert TEXTS["SVD_Sampler"]["inputs"]["steps"]["name"] in shown.inner_text()
    page.screenshot("chinese_help")


def test_node_is_found_by_its_chinese_name(page: ComfyPage) -> None:
    name = TEXTS["SVD_TemporalVAEDecode"]["display_name"]
    page.clear()
    page.place(page.search(name).filter(has_text=PACK_NAME), name)
    (node,) = page.nodes()
    assert node["type"] == "SVD_TemporalVAEDecode"
