"""Graphs in API form, written as code: `graph.add("VAEDecode", samples=sampler[0], vae=loader[2])`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from tools.client import Client, Prompt, Run

Link = list[Any]  # [node id, output]


@dataclass(frozen=True)
class Node:
    id: str

    def __getitem__(self, output: int) -> Link:
        return [self.id, output]


@dataclass
class Graph:
    prompt: Prompt = field(default_factory=dict)

    def add(self, class_type: str, **inputs: Any) -> Node:
        node_id = str(len(self.prompt) + 1)
        self.prompt[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
        return Node(node_id)


@dataclass(frozen=True)
class Clip:
    """What all graphs of a comparison share. Augmentation is 0: the native node draws unseeded noise."""

    width: int = 64
    height: int = 64
    frames: int = 4
    motion_bucket_id: int = 100
    fps: int = 7
    seed: int = 11
    steps: int = 3
    min_cfg: float = 1.0
    max_cfg: float = 2.5


STAGES = ("loader", "clip", "conditioning", "sampler", "decode")


@dataclass(frozen=True)
class Source:
    """Where a graph's weights and picture come from."""

    checkpoint: str
    picture: str  # of exactly the size CLIP takes, so that nobody resizes it
    native_loader: dict[str, Any]  # class_type and inputs of the native loader


def build(source: Source, clip: Clip, native: tuple[str, ...] = (), name: str = "result") -> Prompt:
    """The whole graph, with the stages in `native` made of the host's own nodes; saves latents and frames as `name`."""
    graph = Graph()
    model = add_loader(graph, source, "loader" in native)
    conditioning = add_conditioning(graph, source, model, clip, native)
    latents = add_sampler(graph, model[0], conditioning, clip, "sampler" in native)
    if "decode" in native:
        frames = graph.add("VAEDecode", samples=latents[0], vae=model[2])
    else:
        frames = graph.add("SVD_TemporalVAEDecode", samples=latents[0], vae=model[2], frames_at_once=0)
    graph.add("TestSaveTensors", name=name, latent=latents[0], image=frames[0], conditioning=conditioning[0])
    return graph.prompt


def add_loader(graph: Graph, source: Source, native: bool) -> Node:
    if native:
        return graph.add(**source.native_loader)
    return graph.add("SVD_Loader", checkpoint=source.checkpoint, weight_dtype="auto")


def add_conditioning(graph: Graph, source: Source, model: Node, clip: Clip, native: tuple[str, ...]) -> list[Link]:
    """Links to positive, negative and the empty latents."""
    picture = graph.add("LoadImage", image=source.picture)
    shared = {"width": clip.width, "height": clip.height, "video_frames": clip.frames, "fps": clip.fps}
    shared |= {"motion_bucket_id": clip.motion_bucket_id, "augmentation_level": 0.0, "vae": model[2]}
    if "conditioning" in native:  # this node holds the native CLIP stage as well
        node = graph.add("SVD_img2vid_Conditioning", clip_vision=model[1], init_image=picture[0], **shared)
        return [node[0], node[1], node[2]]
    if "clip" in native:
        embedding = graph.add("CLIPVisionEncode", clip_vision=model[1], image=picture[0], crop="none")
    else:
        embedding = graph.add("SVD_CLIPImageEncode", clip_vision=model[1], image=picture[0], fit="squash")
    scaled = graph.add(  # the resize inside the native node, spelled out
        "ImageScale",
        image=picture[0],
        upscale_method="bilinear",
        width=clip.width,
        height=clip.height,
        crop="center",
    )
    node = graph.add(
        "SVD_VAEEncodeConditioning", image=scaled[0], clip_vision_output=embedding[0], fit="crop", seed=0, **shared
    )
    return [node[0], node[1], node[2]]


def add_sampler(graph: Graph, model: Link, conditioning: list[Link], clip: Clip, native: bool) -> Node:
    positive, negative, empty = conditioning
    shared = {"positive": positive, "negative": negative, "latent_image": empty, "seed": clip.seed}
    shared |= {"steps": clip.steps, "denoise": 1.0}
    if native:
        guided = graph.add("VideoLinearCFGGuidance", model=model, min_cfg=clip.min_cfg)
        return graph.add(
            "KSampler", model=guided[0], cfg=clip.max_cfg, sampler_name="euler", scheduler="karras", **shared
        )
    return graph.add(
        "SVD_Sampler",
        model=model,
        min_cfg=clip.min_cfg,
        max_cfg=clip.max_cfg,
        guidance="linear",
        sampler="euler",
        schedule="karras",
        **shared,
    )


def run_and_load(client: Client, output: Path, prompt: Prompt, timeout: float = 600) -> dict[str, torch.Tensor]:
    """Run a graph that ends in TestSaveTensors; returns what it saved."""
    succeeded(client.run(prompt, timeout=timeout))
    (node,) = (node for node in prompt.values() if node["class_type"] == "TestSaveTensors")
    # Read whole: the next run writes the same file, and load_file only maps it.
    return load((output / f"{node['inputs']['name']}.safetensors").read_bytes())


def succeeded(run: Run) -> Run:
    assert run.status == "success", described(run)
    return run


def described(run: Run) -> str:
    """What the server said of a run that did not end well, with its traceback."""
    if run.error is None:
        return run.status
    return f"{run.error['node_type']}: {run.error['exception_message']}\n{''.join(run.error['traceback'])}"


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """|ours - theirs| / |theirs|, L2."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return (torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs)).item()
