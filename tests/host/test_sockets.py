"""A literal where a link belongs, a link of the wrong kind, a number out of range: one sentence each, from every node.

All nodes of ours stand in one graph, and each test spoils one input of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import SMALL
from graphs import Graph, Link, succeeded
from test_wrong_input import assert_one_sentence, failure

from svd_core.checkpoints import unet_shapes
from tests.support.random_checkpoint import small_config
from tests.support.random_lora import random_factors, write_lora
from tools.client import JSON, Client, Prompt
from tools.host import Host
from tools.workflow import PICTURE

LORA = "sockets.safetensors"
SOCKETS = {"MODEL", "CLIP_VISION", "VAE", "CLIP_VISION_OUTPUT", "CONDITIONING", "LATENT", "IMAGE", "MASK"}
NODES = (
    "SVD_LoRA",
    "SVD_CLIPImageEncode",
    "SVD_VAEEncodeConditioning",
    "SVD_Sampler",
    "SVD_TemporalVAEDecode",
    "SVD_VideoEncode",
    "SVD_HoldFrames",
    "SVD_LatentCorrection",
    "SVD_ColourMatch",
    "SVD_ContactSheet",
    "SVD_FitSize",
)
LITERALS = (3, 0.5, True, "x", None, {"__value__": [1, 2]}, {"samples": 1})
WRONG = {
    "MODEL": ("nothing", "another model", "a LATENT without samples"),
    "CLIP_VISION": ("nothing", "another model"),
    "VAE": ("nothing", "another model", "an empty VAE"),
    "CLIP_VISION_OUTPUT": ("nothing", "an embedding of nothing"),
    "CONDITIONING": ("nothing", "a list of tensors"),
    "LATENT": (
        "nothing",
        "a LATENT without samples",
        "latents of another family",
        "latents of another kind of video",
    ),
    "IMAGE": ("nothing", "one picture without a batch", "an empty batch", "pictures with channels first"),
    "MASK": ("another model", "an empty batch"),
    "INT": ("nothing", "half a frame"),
    "FLOAT": ("nothing", "nan"),
    "STRING": ("nothing", "nan"),
    "COMBO": ("nothing", "nan"),
}


@pytest.fixture(scope="module")
def keeping(host: Host) -> Client:
    """A client that takes earlier results, so that only the spoilt node runs."""
    return Client(host.url)


@pytest.fixture(scope="module")
def whole(host: Host, keeping: Client) -> Prompt:
    """Every node of ours in one graph that runs."""
    shapes = unet_shapes(small_config().unet)
    write_lora(host.base / "models" / "loras" / LORA, random_factors(shapes), shapes, "official")
    graph = Graph()
    picture = graph.add("LoadImage", image=keeping.upload_image(PICTURE))[0]
    model, clip_vision, vae = (graph.add("SVD_Loader", checkpoint=SMALL, weight_dtype="auto")[k] for k in range(3))
    embedding = graph.add("SVD_CLIPImageEncode", clip_vision=clip_vision, image=picture, fit="squash")[0]
    settings = {"width": 64, "height": 64, "fit": "crop", "video_frames": 2, "motion_bucket_id": 127, "fps": 7}
    settings |= {"augmentation_level": 0.0, "seed": 0}
    cond = graph.add("SVD_VAEEncodeConditioning", vae=vae, image=picture, clip_vision_output=embedding, **settings)
    sampling = {"seed": 0, "steps": 1, "min_cfg": 1.0, "max_cfg": 1.0, "guidance": "linear", "sampler": "euler"}
    sampling |= {"schedule": "karras", "denoise": 1.0, "clips": 1}
    latents = graph.add(
        "SVD_Sampler", model=model, positive=cond[0], negative=cond[1], latent_image=cond[2], **sampling
    )[0]
    frames = graph.add("SVD_TemporalVAEDecode", vae=vae, samples=latents, frames_at_once=0)[0]
    mask = graph.add("SolidMask", value=1.0, width=64, height=64)[0]
    video = graph.add("SVD_VideoEncode", vae=vae, video=frames, latent=cond[2], fit="crop")[0]
    held = {"pictures": picture, "frame_ids": "0", "fit": "crop", "hold_mask": mask}
    ends = [graph.add("SVD_HoldFrames", vae=vae, latent=video, **held)[0]]
    ends.append(graph.add("SVD_LatentCorrection", samples=latents, post_normalize=True, contrast_enhance_scale=1.1)[0])
    ends.append(graph.add("SVD_ColourMatch", frames=frames, picture=picture, strength=1.0)[0])
    sheet = {"pick": 1, "layout": "moving", "width": 128}
    ends.append(graph.add("SVD_ContactSheet", images=frames, samples=latents, **sheet)[0])
    ends.append(graph.add("SVD_FitSize", image=picture, model=model)[0])
    ends.append(graph.add("SVD_LoRA", model=model, lora=LORA, strength=1.0)[0])
    for end in ends:
        graph.add("PreviewAny", source=end)
    succeeded(keeping.run(graph.prompt))
    return graph.prompt


def inputs_of(object_info: JSON, node: str) -> Iterator[tuple[str, str, Any, bool]]:
    """Name, type, settings and whether it may be left out, of every input."""
    for kind, entries in object_info[node]["input"].items():
        for name, entry in entries.items() if kind != "hidden" else ():
            yield name, entry[0], entry[1], kind == "optional"


def spoilt(prompt: Prompt, node: str, name: str, value: Any) -> Graph:
    """The graph up to a node that is given `value` at one input. value: also a function that adds nodes for it."""
    graph = Graph(copy.deepcopy(prompt))
    (place,) = (key for key, entry in graph.prompt.items() if entry["class_type"] == node)
    graph.prompt[place]["inputs"][name] = value(graph) if callable(value) else value
    for key in [key for key, entry in graph.prompt.items() if entry["class_type"] == "PreviewAny"]:
        del graph.prompt[key]
    graph.prompt["end"] = {"class_type": "PreviewAny", "inputs": {"source": [place, 0]}}
    return graph


def sentence_for(client: Client, prompt: Prompt, node: str, name: str, value: Any) -> str:
    """The error of that graph."""
    graph = spoilt(prompt, node, name, value)
    failed, sentence = failure(client, graph.prompt)
    assert failed == node
    assert_one_sentence(sentence)
    return sentence


def name_of(object_info: JSON, node: str) -> str:
    return object_info[node]["display_name"]


@pytest.mark.parametrize("node", NODES)
def test_a_literal_at_every_socket(keeping: Client, object_info: JSON, whole: Prompt, node: str) -> None:
    sockets = [entry for entry in inputs_of(object_info, node) if entry[1] in SOCKETS]
    assert sockets
    for name, _, _, optional in sockets:
        for literal in LITERALS:
            if optional and literal is None:
                continue
            sentence = sentence_for(keeping, whole, node, name, literal)
            assert name_of(object_info, node) in sentence and f"its input {name}; connect " in sentence, sentence


@pytest.mark.parametrize("node", NODES)
def test_a_link_of_the_wrong_kind(keeping: Client, object_info: JSON, whole: Prompt, node: str) -> None:
    for name, kind, _, optional in inputs_of(object_info, node):
        for what in WRONG.get(kind, ()):
            if optional and what == "nothing":
                continue
            sentence = sentence_for(
                keeping, whole, node, name, lambda graph, what=what: graph.add("TestWrongThing", what=what)[0]
            )
            assert "object at" not in sentence
            if kind != "LATENT":
                assert name_of(object_info, node) in sentence, sentence


@pytest.mark.parametrize("what", ["grey pictures", "pictures with alpha"])
def test_pictures_of_any_number_of_channels(keeping: Client, object_info: JSON, whole: Prompt, what: str) -> None:
    for node in NODES:
        for name in [name for name, kind, *_ in inputs_of(object_info, node) if kind == "IMAGE"]:
            count = 2 if name in ("frames", "images", "video") else 1

            def take(graph: Graph, count: int = count) -> Link:
                pictures = graph.add("TestWrongThing", what=what)[0]
                return graph.add("ImageFromBatch", image=pictures, batch_index=0, length=count)[0]

            succeeded(keeping.run(spoilt(whole, node, name, take).prompt))


@pytest.mark.parametrize("node", NODES)
def test_a_number_out_of_range_over_a_link(keeping: Client, object_info: JSON, whole: Prompt, node: str) -> None:
    """The host holds only typed numbers to the limits of the input."""
    for name, kind, settings, _ in inputs_of(object_info, node):
        if kind not in ("INT", "FLOAT") or name == "seed":
            continue
        maker = {"INT": "PrimitiveInt", "FLOAT": "PrimitiveFloat"}[kind]
        for value in (settings["min"] - 1, settings["max"] + 1):
            sentence = sentence_for(
                keeping, whole, node, name, lambda graph, maker=maker, value=value: graph.add(maker, value=value)[0]
            )
            assert f"{name_of(object_info, node)} got {value} at its input {name}; give " in sentence
