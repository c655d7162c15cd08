"""The example of the bundled model, from the template browser to a video that plays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from comfy_page import AT_LENGTH, ComfyPage

from tools.host import PACK_NAME
from tools.workflow import WORKFLOWS, load_ui

EXAMPLE = "image_to_video"
SIZE = 96  # pixels of the bundled model's clips
PREVIEW = "app.graph.nodes.find(node => node.type === 'SVD_Sampler').imgs?.[0]?.naturalWidth > 0"


@pytest.fixture(scope="module")
def page(open_page: Callable[..., ComfyPage]) -> ComfyPage:
    return open_page()


@pytest.fixture(scope="module")
def finished(page: ComfyPage) -> ComfyPage:
    """The example, loaded and run to its end."""
    page.load_template(PACK_NAME, EXAMPLE)
    page.run()
    page.page.wait_for_function(PREVIEW, timeout=AT_LENGTH)
    page.screenshot("running")
    page.video.wait_for(timeout=AT_LENGTH)
    page.page.wait_for_function("document.querySelector('video').readyState >= 2")
    return page


def test_templates_are_listed_with_their_thumbnails(page: ComfyPage) -> None:
    cards = page.open_templates(PACK_NAME)
    page.page.wait_for_function(
        "[...document.querySelectorAll('[data-testid=thumbnail-content] img')].every(i => i.naturalWidth > 0)"
    )
    page.screenshot("templates")
    assert {card.get_attribute("data-testid") for card in cards.all()} == {
        f"template-workflow-{name}" for name in WORKFLOWS
    }
    for card in cards.all():
        thumbnail = card.get_by_test_id("thumbnail-content").locator("img")
        assert thumbnail.evaluate("image => image.naturalWidth") > 200
    page.close_dialog()


def test_example_loads_without_missing_nodes(page: ComfyPage) -> None:
    page.load_template(PACK_NAME, EXAMPLE)
    assert sorted(node["type"] for node in page.nodes()) == sorted(node["type"] for node in load_ui(EXAMPLE)["nodes"])
    assert all(node["known"] for node in page.nodes())
    assert not page.dialog.is_visible()


def test_dropped_file_is_opened(page: ComfyPage) -> None:
    workflow = load_ui(EXAMPLE)
    (sampler,) = (node for node in workflow["nodes"] if node["type"] == "SVD_Sampler")
    sampler["title"] = "Dropped here"
    page.drop("dropped.json", json.dumps(workflow))
    page.page.wait_for_function("app.graph.nodes.some(node => node.title === 'Dropped here')")
    assert len(page.nodes()) == len(workflow["nodes"])


def test_run_shows_progress_and_a_preview(finished: ComfyPage) -> None:
    steps = {int(found[1]) for text in finished.progress() if (found := re.search(r"SVD Sampler (\d+) ?%", text))}
    assert len(steps) > 3


def test_video_plays(finished: ComfyPage) -> None:
    video = finished.video
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [SIZE, SIZE]
    video.click()
    finished.page.wait_for_function("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 8")
    assert video.evaluate("video => video.currentTime") > 0.5
    finished.deselect()
    finished.screenshot("graph")


def test_nothing_is_asked_of_other_machines(finished: ComfyPage) -> None:
    assert not finished.outside()
    assert not finished.errors
