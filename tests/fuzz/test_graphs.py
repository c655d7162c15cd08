"""Posted graphs with wrong links, literals and numbers: our nodes answer in a sentence, and ComfyUI goes on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
from graphs import Graph, described
from hypothesis import strategies as st

from svd_core.checkpoints import unet_shapes
from tests.support.random_checkpoint import small_config, write_checkpoint
from tests.support.random_lora import random_factors, write_lora
from tools.client import Client, HostError, Prompt
from tools.comfyui import REPOSITORY, find_comfyui
from tools.host import PACK_NAME, Host
from tools.workflow import PICTURE

from .conftest import Fuzz
from .oracle import check_sentence

SMALL, LORA = "small.safetensors", "small_lora.safetensors"
PACKS = {PACK_NAME: REPOSITORY, "svd-nodes-tests": REPOSITORY / "tests" / "host" / "support_pack"}
SECONDS = 60.0  # for a graph that takes less than one: only what hangs is meant
WHOLE = (0, 1, 2, -1, 3, 17, 2**31, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30)
BROKEN = (0.5, 1e-9, 1e38, 1e308, -1e308, math.nan, math.inf, -math.inf)
LITERALS: tuple[Any, ...] = (
    *(*WHOLE, *BROKEN, None, True, "", "x", "x" * 5000, "9" * 5000, "\0\x1b[31m\n"),
    *("../../x", "C:\\x\\y.safetensors", "-1, 0", [], [1, 2, 3], {}, {"__value__": [1, 2]}, {"samples": 1}),
    *(["1"], ["nowhere", 0], [[], 0], ["1", 99], ["1", -1], ["1", 0.5]),
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base = tmp_path_factory.mktemp("host")
    with Host(find_comfyui(), base, PACKS) as running:
        write_checkpoint(running.checkpoints / SMALL, small_config())
        shapes = unet_shapes(small_config().unet)
        write_lora(base / "models" / "loras" / LORA, random_factors(shapes), shapes, "official")
        yield running


@pytest.fixture(scope="module")
def whole(host: Host) -> Prompt:
    """Nodes of ours in one graph that runs."""
    graph = Graph()
    picture = graph.add("LoadImage", image=host.client.upload_image(PICTURE))[0]
    loader = graph.add("SVD_Loader", checkpoint=SMALL, weight_dtype="auto")
    model = graph.add("SVD_LoRA", model=loader[0], lora=LORA, strength=0.5)[0]
    size = graph.add("SVD_FitSize", image=picture, model=model)
    embedding = graph.add("SVD_CLIPImageEncode", clip_vision=loader[1], image=picture, fit="squash")[0]
    settings = {"width": 64, "height": 64, "fit": "crop", "video_frames": 2, "motion_bucket_id": 127, "fps": 7}
    settings |= {"augmentation_level": 0.0, "seed": 0}
    cond = graph.add(
        "SVD_VAEEncodeConditioning", vae=loader[2], image=picture, clip_vision_output=embedding, **settings
    )
    held = graph.add("SVD_HoldFrames", vae=loader[2], latent=cond[2], pictures=picture, frame_ids="0", fit="crop")[0]
    sampling = {"seed": 0, "steps": 1, "min_cfg": 1.0, "max_cfg": 1.0, "guidance": "linear", "sampler": "euler"}
    sampling |= {"schedule": "karras", "denoise": 1.0, "clips": 1, "positive": cond[0], "negative": cond[1]}
    latents = graph.add("SVD_Sampler", model=model, latent_image=held, **sampling)[0]
    better = graph.add("SVD_LatentCorrection", samples=latents, post_normalize=True, contrast_enhance_scale=1.1)[0]
    frames = graph.add("SVD_TemporalVAEDecode", vae=loader[2], samples=better, frames_at_once=0)[0]
    matched = graph.add("SVD_ColourMatch", frames=frames, picture=picture, strength=1.0)[0]
    sheet = graph.add("SVD_ContactSheet", images=matched, samples=latents, pick=1, layout="moving", width=128)[0]
    video = graph.add("SVD_VideoEncode", vae=loader[2], video=matched, latent=cond[2], fit="crop")[0]
    for end in (size[0], sheet, video):
        graph.add("PreviewAny", source=end)
    run = host.client.run(graph.prompt)
    assert run.status == "success", described(run)
    return graph.prompt


def spoil(prompt: Prompt, edits: list[tuple[float, float, str, Any]]) -> Prompt:
    """Each edit: shares that choose a node of ours and one of its inputs, what is done there, and with what."""
    graph = Graph(copy.deepcopy(prompt))
    ours = [key for key, node in prompt.items() if node["class_type"].startswith("SVD_")]
    for node_share, input_share, kind, value in edits:
        inputs = graph.prompt[ours[int(node_share * (len(ours) - 1))]]["inputs"]
        if not inputs:
            continue
        name = list(inputs)[int(input_share * (len(inputs) - 1))]
        if kind == "remove":
            del inputs[name]
        elif kind == "link":
            keys = list(prompt)
            inputs[name] = [keys[value % len(keys)], value // len(keys) % 4]
        elif kind == "number":  # which the host does not hold to the limits of the input
            inputs[name] = graph.add("PrimitiveInt" if isinstance(value, int) else "PrimitiveFloat", value=value)[0]
        else:
            inputs[name] = value
    return graph.prompt


def check_run(client: Client, prompt: Prompt) -> None:
    try:
        run = client.run(prompt, timeout=SECONDS)
    except HostError as refusal:  # by the host, before any node runs
        assert refusal.status < 500 or "exception" not in str(refusal.body), refusal
        return
    if run.status == "error" and run.error is not None and run.error["node_type"].startswith("SVD_"):
        assert run.error["exception_type"].endswith("SVDError"), described(run)
        check_sentence(run.error["exception_message"].strip())


def test_spoilt_graphs(fuzz: Fuzz, host: Host, whole: Prompt) -> None:
    def check(edits: list[tuple[float, float, str, Any]]) -> None:
        check_run(host.client, spoil(whole, edits))

    shares = st.floats(0, 1)
    edits = st.one_of(
        st.tuples(shares, shares, st.just("literal"), st.sampled_from(LITERALS)),
        st.tuples(shares, shares, st.just("link"), st.integers(0, 200)),
        st.tuples(shares, shares, st.just("number"), st.sampled_from((*WHOLE[:10], *BROKEN))),
        st.tuples(shares, shares, st.just("remove"), st.none()),
    )
    fuzz(check, st.lists(edits, min_size=1, max_size=3), cases=30, thorough_cases=2000)
    run = host.client.run(whole)
    assert run.status == "success", described(run)
