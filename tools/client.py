"""A client of ComfyUI's HTTP and websocket API that keeps every message; built on `examples/api_client.py`."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import aiohttp  # comes with ComfyUI

from examples import api_client

T = TypeVar("T")
JSON = dict[str, Any]
Prompt = dict[str, JSON]  # API format: node id -> {"class_type": ..., "inputs": {...}}

REQUEST_SECONDS = 60.0


class HostError(RuntimeError):
    """The server refused a request; `body` is its JSON answer."""

    def __init__(self, status: int, body: JSON):
        super().__init__(f"HTTP {status}: {json.dumps(body)[:2000]}")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Event:
    """One message of the websocket. A binary one has `{"bytes": length}` as `data`; a preview is one, see `picture`."""

    type: str
    data: JSON
    raw: bytes = b""
    time: float = field(default_factory=time.monotonic)

    @property
    def picture(self) -> bytes | None:
        """The file of a preview picture: it follows two numbers of four bytes, the kinds of message and picture."""
        return self.raw[8:] if self.raw[:4] == b"\0\0\0\1" else None


@dataclass
class Run:
    """The outcome of one queued prompt."""

    prompt_id: str
    status: str = "unfinished"  # success | error | interrupted
    error: JSON | None = None  # data of execution_error
    outputs: dict[str, JSON] = field(default_factory=dict)  # node id -> what its output node reported
    events: list[Event] = field(default_factory=list)

    def files(self, node_id: str) -> list[JSON]:
        """Files an output node saved, each as {filename, subfolder, type}."""
        return self.outputs.get(node_id, {}).get("images", [])


ENDINGS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}


class Client:
    """A client of the server at `url`, e.g. http://127.0.0.1:8188."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.id = uuid.uuid4().hex

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self._request("GET", path + ("?" + urlencode(query) if query else "")))

    def fetch(self, path: str) -> bytes:
        """A file that the server serves."""
        return self._request("GET", quote(path))

    def post(self, path: str, body: JSON) -> Any:
        answer = self._request("POST", path, json.dumps(body).encode(), "application/json")
        return json.loads(answer) if answer else None

    def upload_image(self, path: Path) -> str:
        """Put a picture into the server's input folder; returns the name that LoadImage takes."""
        return asyncio.run(self._call(api_client.upload, path))

    def download(self, file: JSON, folder: Path) -> Path:
        """Fetch one of `Run.files`; returns its path in `folder`."""
        return asyncio.run(self._call(api_client.download, file, folder))

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def queue(self, prompt: Prompt) -> str:
        """Queue a prompt; returns its id. Raises HostError when any of its nodes fails the server's validation."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.id})
        if answer["node_errors"]:  # the server runs what is valid and answers 200
            raise HostError(200, answer)
        return answer["prompt_id"]

    def run(self, prompt: Prompt, on_event: Callable[[Event], None] = lambda event: None, timeout: float = 600) -> Run:
        """Queue a prompt and follow it to its end. `on_event` sees every message and may call `interrupt`."""
        return asyncio.run(asyncio.wait_for(self._run(prompt, on_event), timeout))

    async def _call(self, ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        async with aiohttp.ClientSession(self.url) as session:
            return await ask(session, *arguments)

    async def _run(self, prompt: Prompt, on_event: Callable[[Event], None]) -> Run:
        url = f"{self.url}/ws?clientId={self.id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
            run = Run(self.queue(prompt))
            async for message in socket:
                event = _event(message.data)
                run.events.append(event)
                on_event(event)
                if event.data.get("prompt_id") == run.prompt_id and _apply(event, run):
                    return run
        raise ConnectionError("The server closed the connection before the prompt ended; see its log.")

    def _request(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        headers: Mapping[str, str] = {"Content-Type": content_type} if content_type else {}
        request = Request(self.url + path, data=body, headers=dict(headers), method=method)
        try:
            with urlopen(request, timeout=REQUEST_SECONDS) as answer:
                return answer.read()
        except HTTPError as error:
            text = error.read().decode(errors="replace")
            raise HostError(error.code, json.loads(text) if text.startswith("{") else {"text": text}) from None


def _event(data: str | bytes) -> Event:
    if isinstance(data, bytes):
        return Event("binary", {"bytes": len(data)}, data)
    message = json.loads(data)
    return Event(message["type"], message.get("data") or {})


def _apply(event: Event, run: Run) -> bool:
    """Add one message to the run; return whether it was the last."""
    if event.type == "executed":
        run.outputs[event.data["node"]] = event.data.get("output") or {}
    if event.type == "execution_error":
        run.error = event.data
    run.status = ENDINGS.get(event.type, run.status)
    return event.type in ENDINGS
