"""Every example opens on the page, whole and with nodes that the page knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from comfy_page import ComfyPage

from tools.host import PACK_NAME
from tools.workflow import WORKFLOWS, load_ui

TYPES = "app.graph.nodes.map(node => node.type).sort()"


@pytest.fixture(scope="module")
def page(open_page: Callable[..., ComfyPage]) -> ComfyPage:
    return open_page()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_example_opens_without_missing_nodes(page: ComfyPage, name: str) -> None:
    page.load_template(PACK_NAME, name)
    wanted = sorted(node["type"] for node in load_ui(name)["nodes"])
    page.page.wait_for_function(f"wanted => JSON.stringify({TYPES}) === JSON.stringify(wanted)", arg=wanted)
    page.screenshot(f"example_{name}")
    assert all(node["known"] for node in page.nodes())
