"""ComfyUI's page as a person uses it: by what is seen, clicked and typed, in any language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Request

AT_LENGTH = 120_000  # milliseconds; for the page to open and for a run, on a busy machine
A_WHILE = 2_000
PATIENCE = 30_000  # for all else: a test that fails soon says more than one that hangs
READY = "window.app?.vueAppReady && document.querySelector('[data-testid=queue-button]')"
# The host forbids its page to ask other machines; what was refused never becomes a request.
RECORD_REFUSED = """
    window.refused = [];
    addEventListener("securitypolicyviolation", event => window.refused.push(event.blockedURI));"""
INSIDE = ("data:", "blob:", "about:", "chrome")

# A dropped file reaches the page as an event with the file in it.
DROP = """([canvas, name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name, {type: "application/json"}));
    const {x, y} = canvas.getBoundingClientRect();
    for (const type of ["dragenter", "dragover", "drop"])
        canvas.dispatchEvent(new DragEvent(
            type, {dataTransfer: data, bubbles: true, cancelable: true, clientX: x + 600, clientY: y + 300}));
}"""

# What the progress panel says goes by within seconds: keep all of it.
RECORD_PROGRESS = """() => {
    window.progressSeen = [];
    const note = () => window.progressSeen.push(
        document.querySelector("[data-testid=queue-progress-overlay]")?.innerText ?? "");
    new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


class ComfyPage:
    """One tab. `errors` are what scripts of the page threw."""

    def __init__(self, page: Page, url: str, artefacts: Path):
        self.page = page
        self.url = url
        self.artefacts = artefacts
        self.requested: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.add_init_script(RECORD_REFUSED)
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self) -> ComfyPage:
        """A first visit shows the template browser."""
        self.page.goto(self.url, timeout=AT_LENGTH)
        self.page.wait_for_function(READY, timeout=AT_LENGTH)
        self.dialog.wait_for(timeout=AT_LENGTH)
        return self

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def canvas(self) -> Locator:
        return self.page.locator("#graph-canvas")

    @property
    def video(self) -> Locator:
        return self.page.locator("video")

    def close_dialog(self) -> None:
        if self.dialog.is_visible():
            self.dialog.locator("button[aria-label]:visible").first.click()
            self.dialog.wait_for(state="hidden")

    def open_templates(self, pack: str) -> Locator:
        """The cards that the template browser shows of a pack."""
        if not self.dialog.is_visible():
            self.page.locator(".templates-tab-button").click()
        self.dialog.get_by_text(pack, exact=True).first.click()
        cards = self.dialog.locator("[data-testid^=template-workflow-]")
        cards.first.wait_for()
        return cards

    def load_template(self, pack: str, name: str) -> None:
        self.open_templates(pack)
        self.page.get_by_test_id(f"template-workflow-{name}").click()
        self.dialog.wait_for(state="hidden")
        self.wait_for_nodes()

    def drop(self, name: str, text: str) -> None:
        """Let a file fall onto the page."""
        self.page.evaluate(DROP, [self.canvas.element_handle(), name, text])

    def search(self, words: str) -> Locator:
        """Results of the search box, which a double click opens; each shows its title, pack, category and use."""
        box = self.page.get_by_role("combobox").and_(self.page.locator("[aria-controls=results-list]"))
        while not self._appears(box):  # on a busy machine the two clicks may come too late after each other
            self.canvas.dblclick(position={"x": 900, "y": 650})
        box.fill(words)
        return self.page.get_by_test_id("result-item")

    def place(self, found: Locator, title: str, x: float = 500, y: float = 300) -> None:
        """Take a node from what the search box found; it hangs on the pointer until the next click.

        Descriptions name other nodes: the title alone tells which it is.
        """
        found.filter(has=self.page.get_by_text(title, exact=True)).click()
        found.first.wait_for(state="hidden")
        self.page.wait_for_function("app.graph.nodes.length === 1")
        self.canvas.click(position={"x": x, "y": y})

    def put(self, node: str) -> int:
        """A new node on an empty graph; returns its id.

        Never where the one before was: two clicks on one place, soon after each other, rename a node.
        """
        self.clear()
        return self.page.evaluate(
            """type => {
                const node = LiteGraph.createNode(type);
                app.graph.add(node);
                node.pos = [800, 220 - 60 * (node.id % 2)];
                return node.id;
            }""",
            node,
        )

    def clear(self) -> None:
        """Remove the nodes, as a person does; `graph.clear` would give their ids, and with them their values, again."""
        self.page.keyboard.press("Escape")  # from a search box that a failed test left open
        self.page.evaluate("[...app.graph.nodes].forEach(node => app.graph.remove(node)); app.canvas.ds.reset()")

    def select(self, node_id: int) -> None:
        """Click on the title of a node."""
        x, y = self.page.evaluate(
            """id => {
                const {pos} = app.graph.getNodeById(id);
                return app.canvas.ds.convertOffsetToCanvas([pos[0] + 60, pos[1] - 12]);
            }""",
            node_id,
        )
        self.canvas.click(position={"x": x, "y": y})
        self.page.get_by_test_id("selection-toolbox").wait_for()

    def help(self, node_id: int, title: str) -> Locator:
        """The help of a node, once its own is shown."""
        self.select(node_id)
        self.page.get_by_test_id("info-button").click()
        shown = self.page.locator(".node-help-content")
        shown.get_by_role("heading", level=1, name=title, exact=True).wait_for()
        return shown

    def run(self) -> None:
        self.page.evaluate(RECORD_PROGRESS)
        self.page.get_by_test_id("queue-button").click()

    def progress(self) -> Sequence[str]:
        """Every text that the progress panel has shown since `run`."""
        return [re.sub(r"\s+", " ", text) for text in self.page.evaluate("window.progressSeen")]

    def outside(self) -> list[str]:
        """Addresses of other machines that the page asked, or tried to."""
        return [*self.requested, *self.page.evaluate("window.refused")]

    def deselect(self) -> None:
        self.page.evaluate("app.canvas.deselectAll()")
        self.page.get_by_test_id("selection-toolbox").wait_for(state="hidden")

    def wait_for_count(self, found: Locator, count: int) -> None:
        from playwright.sync_api import expect

        expect(found).to_have_count(count, timeout=PATIENCE)

    def wait_for_nodes(self) -> None:
        self.page.wait_for_function("app.graph.nodes.length > 1")

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes of the graph on the page: id, type, title, and whether the page knows the type."""
        return self.page.evaluate(
            """app.graph.nodes.map(({id, type, title, inputs, outputs}) => ({
                id, type, title,
                known: type in LiteGraph.registered_node_types,
                inputs: inputs.map(slot => slot.label ?? slot.localized_name ?? slot.name),
                outputs: outputs.map(slot => slot.label ?? slot.localized_name ?? slot.name),
            }))"""
        )

    def screenshot(self, name: str) -> Path:
        path = self.artefacts / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def _appears(self, part: Locator) -> bool:
        """Within a while: a click for one that is on its way would fall beside it and close it."""
        from playwright.sync_api import TimeoutError as TooLate

        try:
            part.wait_for(timeout=A_WHILE)
        except TooLate:
            return False
        return True

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, *INSIDE)):
            self.requested.append(request.url)
