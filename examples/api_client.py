"""Make a video through ComfyUI's API: upload a picture, queue a workflow, follow it, download what it saved.

    python examples/api_client.py picture.png
    python examples/api_client.py picture.png --workflow example_workflows/api/image_to_video_xt.json --out clips \\
        --set SVD_Sampler.seed=7 --set SVD_VAEEncodeConditioning.motion_bucket_id=90

A file to copy from: it needs nothing of this repository, and only aiohttp beside Python's own library, which ComfyUI
installs. A workflow is one in the API's form, as in `example_workflows/api` or from the page's menu, Export (API).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp

DEMO = Path(__file__).parent.parent / "example_workflows" / "api" / "image_to_video.json"

Workflow = dict[str, dict[str, Any]]  # node id -> {"class_type": ..., "inputs": {name: value, or [node id, output]}}


class Refused(Exception):
    """The server did not take the request, or could not finish it; the text says why."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--workflow", type=Path, default=DEMO)
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for what the workflow saves")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help="NODE: its class or id")
    options = parser.parse_args()
    workflow: Workflow = json.loads(options.workflow.read_text("utf-8"))
    try:
        for change in options.set:
            set_input(workflow, change)
        for path in asyncio.run(make_video(options.server, workflow, options.picture, options.out)):
            print(path)
    except (Refused, aiohttp.ClientError) as error:
        sys.exit(f"{error}")


async def make_video(server: str, workflow: Workflow, picture: Path, folder: Path) -> list[Path]:
    """Run a workflow on a picture. Returns the files it saved, downloaded into `folder`."""
    client_id = uuid.uuid4().hex
    async with aiohttp.ClientSession(server) as session:
        name = await upload(session, picture)
        for node in nodes_of(workflow, "LoadImage"):
            node["inputs"]["image"] = name
        # Connected before anything is queued, so that no message is missed.
        async with session.ws_connect("/ws", params={"clientId": client_id}, max_msg_size=0) as socket:
            prompt_id = await queue(session, workflow, client_id)
            await follow(socket, prompt_id, workflow)
        return [await download(session, file, folder) for file in await saved_files(session, prompt_id)]


async def upload(session: aiohttp.ClientSession, picture: Path) -> str:
    """Put a picture into ComfyUI's input folder. Returns the name that Load Image takes."""
    form = aiohttp.FormData({"overwrite": "true"})
    form.add_field("image", picture.read_bytes(), filename=picture.name)
    async with session.post("/upload/image", data=form) as answer:
        answer.raise_for_status()
        return (await answer.json())["name"]


async def queue(session: aiohttp.ClientSession, workflow: Workflow, client_id: str) -> str:
    """Queue a workflow. Returns its id. Raises Refused with a line for each input that is wrong."""
    async with session.post("/prompt", json={"prompt": workflow, "client_id": client_id}) as answer:
        body = await answer.json()
    # The server runs what is valid and reports the rest, so that errors may come with an id.
    if answer.status != 200 or body["node_errors"]:
        raise Refused("\n".join([body.get("error", {}).get("message", "Bad request"), *input_errors(body, workflow)]))
    return body["prompt_id"]


def input_errors(body: dict[str, Any], workflow: Workflow) -> list[str]:
    """`SVD_Sampler.steps: Value 0 smaller than min of 1` and so on."""
    lines = []
    for node_id, wrong in (body.get("node_errors") or {}).items():
        for error in wrong["errors"]:
            name = error.get("extra_info", {}).get("input_name", "")
            lines.append(f"  {workflow[node_id]['class_type']}.{name}: {error['message']} ({error['details']})")
    return lines


async def follow(socket: Any, prompt_id: str, workflow: Workflow) -> None:
    """Print progress until the run has ended. Raises Refused where it failed."""
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue  # binary messages are preview pictures
        event = json.loads(message.data)
        kind, data = event["type"], event.get("data") or {}
        if data.get("prompt_id") != prompt_id:
            continue
        if kind == "executing" and data["node"] is None:
            return  # sent once the results can be asked for; "execution_success" comes a moment before that
        elif kind == "executing":
            print(workflow[data["node"]]["class_type"])
        elif kind == "progress":
            print(f"  {data['value']}/{data['max']}")
        elif kind == "execution_error":
            raise Refused(f"{data['node_type']}: {data['exception_message'].strip()}")
        elif kind == "execution_interrupted":
            raise Refused("The run was interrupted.")
    raise Refused("The server closed the connection; see its log.")


async def saved_files(session: aiohttp.ClientSession, prompt_id: str) -> list[dict[str, str]]:
    """Files that the run saved, each as {filename, subfolder, type}, without preview pictures."""
    async with session.get(f"/history/{prompt_id}") as answer:
        outputs = (await answer.json())[prompt_id]["outputs"]
    return [file for output in outputs.values() for file in output.get("images", []) if file["type"] == "output"]


async def download(session: aiohttp.ClientSession, file: dict[str, str], folder: Path) -> Path:
    async with session.get("/view", params=file) as answer:
        answer.raise_for_status()
        content = await answer.read()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(file["filename"]).name
    path.write_bytes(content)
    return path


def set_input(workflow: Workflow, change: str) -> None:
    """Apply `SVD_Sampler.seed=7`. Raises Refused for a node or an input that the workflow does not have."""
    place, found, text = change.partition("=")
    node_name, _, input_name = place.rpartition(".")
    nodes = [workflow[node_name]] if node_name in workflow else nodes_of(workflow, node_name)
    if not found or not nodes or any(input_name not in node["inputs"] for node in nodes):
        raise Refused(f"{change}: the workflow has no such input; write NODE.INPUT=VALUE.")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    for node in nodes:
        node["inputs"][input_name] = value


def nodes_of(workflow: Workflow, class_type: str) -> list[dict[str, Any]]:
    return [node for node in workflow.values() if node["class_type"] == class_type]


if __name__ == "__main__":
    main()
