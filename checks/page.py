"""Graphs as ComfyUI's page saves them, laid out in columns, from a few lines for each node."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tools.client import JSON, Prompt
from tools.workflow import SEEDS

PACK = "svd-nodes"
UPLOADS = ("LoadImage",)  # nodes with a button on the page that the server does not know
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")

COLUMN, GAP, WIDTH = 400, 60, 320
SOCKET, WIDGET, FRAME, PREVIEW = 20, 24, 20, 140  # heights in pixels; nodes that show a picture are higher
NOTE_TOP, NOTE_HEIGHT = -300, 190  # the note lies over all columns but the last, which begins beside it
MARGIN = 80  # of a group above its first node
SHOWING = ("LoadImage", "SaveVideo", "PreviewImage", "SVD_Sampler", "KSampler")
GROUP_COLOUR = "#3f789e"


@dataclass
class Node:
    id: int
    type: str
    column: int
    inputs: dict[str, Any]
    control: str = "fixed"
    models: tuple[JSON, ...] = ()

    def __getitem__(self, output: int) -> list[Any]:
        return [str(self.id), output]


@dataclass
class Page:
    """A graph in the making: `page.add(0, "SVD_Loader", checkpoint="svd.safetensors")`."""

    columns: tuple[str, ...]  # titles
    note: str
    nodes: list[Node] = field(default_factory=list)

    def add(self, column: int, kind: str, control: str = "fixed", models: tuple[JSON, ...] = (), **inputs: Any) -> Node:
        """control: what becomes of a seed after a run. models: released files the node wants, for the page to offer."""
        node = Node(len(self.nodes) + 1, kind, column, inputs, control, models)
        self.nodes.append(node)
        return node

    def api(self, info: JSON) -> Prompt:
        """The graph in API form. info: /object_info."""
        return {
            str(node.id): {
                "class_type": node.type,
                "inputs": _inputs(node, info[node.type]),
            }
            for node in self.nodes
        }

    def ui(self, name: str, info: JSON) -> JSON:
        """The graph in UI form. name: of the file; gives the graph its identity."""
        links = [list(link) for link in self._links(info)]
        nodes = [self._ui_node(node, info[node.type], links) for node in self.nodes]
        groups = _place(nodes, [node.column for node in self.nodes], self.columns)
        nodes.append(_note(len(nodes) + 1, self.note, len(self.columns) - 1))
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK}/{name}")),
            "revision": 0,
            "last_node_id": len(nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": groups,
            "config": {},
            "extra": {"ds": {"scale": 0.7, "offset": [80, 400]}},
            "version": 0.4,
        }

    def _links(self, info: JSON) -> Iterator[tuple[int, int, int, int, int, str]]:
        count = 0
        for node in self.nodes:
            for slot, value in enumerate(_inputs(node, info[node.type]).values()):
                if isinstance(value, list):
                    count += 1
                    source, output = int(value[0]), value[1]
                    kind = info[self.nodes[source - 1].type]["output"][output]
                    yield count, source, output, node.id, slot, kind

    def _ui_node(self, node: Node, info: JSON, links: list[list[Any]]) -> JSON:
        into = {link[4]: link[0] for link in links if link[3] == node.id}
        entries = [
            _entry(name, spec, into.get(slot)) for slot, (name, spec) in enumerate(_declared(node, info).items())
        ]
        outputs = [
            {"name": name, "type": kind, "links": [link[0] for link in links if link[1:3] == [node.id, slot]]}
            for slot, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
        ]
        ours = node.type.startswith("SVD_") and info["category"] == "SVD"
        properties: JSON = {"Node name for S&R": node.type, "cnr_id": PACK if ours else "comfy-core"}
        return {
            "id": node.id,
            "type": node.type,
            "pos": [0, 0],
            "size": [WIDTH, _height(node.type, entries, outputs)],
            "flags": {},
            "order": node.id - 1,
            "mode": 0,
            "inputs": entries,
            "outputs": outputs,
            "properties": properties | ({"models": list(node.models)} if node.models else {}),
            "widgets_values": list(_widget_values(node, info)),
        }


def _specs(info: JSON) -> dict[str, list[Any]]:
    kinds = ("required", "optional")
    return {name: info["input"][kind][name] for kind in kinds for name in info["input_order"].get(kind, [])}


def _inputs(node: Node, info: JSON) -> JSON:
    """The given inputs, plus the defaults of all others that the page would show."""
    filled = {}
    for name, spec in _specs(info).items():
        if name in node.inputs:
            filled[name] = node.inputs[name]
        elif _is_widget(spec) and (name in info["input"]["required"] or node.type.startswith("SVD_")):
            filled[name] = _default(spec)
    unknown = set(node.inputs) - set(filled)
    assert not unknown, f"{node.type} has no input {unknown}"
    return filled


def _declared(node: Node, info: JSON) -> dict[str, list[Any]]:
    specs = {name: _specs(info)[name] for name in _inputs(node, info)}
    return specs | ({"upload": ["IMAGEUPLOAD", {}]} if node.type in UPLOADS else {})


def _type(spec: list[Any]) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def _is_widget(spec: list[Any]) -> bool:
    return _type(spec) in WIDGETS and not (len(spec) > 1 and spec[1].get("forceInput"))


def _default(spec: list[Any]) -> Any:
    options = spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    first = (spec[0] if isinstance(spec[0], list) else options["options"])[0]
    return first["key"] if isinstance(first, dict) else first


def _entry(name: str, spec: list[Any], link: int | None) -> JSON:
    widget = {"widget": {"name": name}} if _is_widget(spec) or spec[0] == "IMAGEUPLOAD" else {}
    return {"name": name, "type": _type(spec), **widget, "link": link}


def _widget_values(node: Node, info: JSON) -> Iterator[Any]:
    for name, value in _inputs(node, info).items():
        spec = _specs(info)[name]
        if _is_widget(spec):
            yield _default(spec) if isinstance(value, list) else value
            if name in SEEDS:
                yield node.control
    if node.type in UPLOADS:
        yield "image"


def _height(kind: str, entries: list[JSON], outputs: list[JSON]) -> int:
    sockets = max(sum("widget" not in entry for entry in entries), len(outputs))
    widgets = sum("widget" in entry for entry in entries) + sum(entry["name"] in SEEDS for entry in entries)
    return FRAME + SOCKET * sockets + WIDGET * widgets + PREVIEW * (kind in SHOWING)


def _place(nodes: list[JSON], columns: list[int], titles: tuple[str, ...]) -> list[JSON]:
    """Stack the nodes of each column, in place. Returns a group around each column; all end at the same height.

    The whole fits an ordinary window: smaller, the page would leave out all words.
    """
    tops = [0] * (len(titles) - 1) + [NOTE_TOP + MARGIN]
    bottoms = list(tops)
    for node, column in zip(nodes, columns, strict=True):
        node["pos"] = [column * COLUMN, bottoms[column]]
        bottoms[column] += node["size"][1] + GAP
    return [
        {
            "id": index + 1,
            "title": title,
            "bounding": [index * COLUMN - 20, top - MARGIN, WIDTH + 40, max(bottoms) - top + MARGIN],
            "color": GROUP_COLOUR,
            "flags": {},
        }
        for index, (title, top) in enumerate(zip(titles, tops, strict=True))
    ]


def _note(number: int, text: str, columns: int) -> JSON:
    return {
        "id": number,
        "type": "MarkdownNote",
        "title": "Read me",
        "pos": [-20, NOTE_TOP],
        "size": [columns * COLUMN - 40, NOTE_HEIGHT],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "color": "#233",
        "bgcolor": "#355",
    }
