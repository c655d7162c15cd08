"""Other people's packs beside ours in one host, on our objects as on the host's own. Opt-in: --packs FOLDER.

FOLDER holds the packs as custom_nodes would. A pack that is not there, or does not load, is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from conftest import PACKS, SMALL, RerunningClient, random_checkpoint, source_of
from graphs import (
    STAGES,
    Clip,
    Graph,
    Link,
    Source,
    add_conditioning,
    add_loader,
    add_sampler,
    relative_error,
    run_and_load,
    succeeded,
)

from svd_core.checkpoints import open_checkpoint
from tools.client import Client
from tools.host import Host

CLIP = Clip()
LONG = Clip(frames=16, steps=2)
TOLERANCE = 2e-4  # as in test_works_with.py
LEAST_EFFECT = 1e-2
KINDS = ("native", "model", "sampler")
"""The host's graph on its own model, the same on ours, and SVD Sampler on ours."""


@pytest.fixture(scope="module")
def host(comfyui: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Host]:
    folder = pytestconfig.getoption("--packs")
    if folder is None:
        pytest.skip("other people's packs: run with --packs FOLDER")
    others = {path.name: path.resolve() for path in sorted(folder.iterdir()) if (path / "__init__.py").is_file()}
    base = tmp_path_factory.mktemp("packs")
    random_checkpoint(base / "models" / "checkpoints" / SMALL)
    options = ["--cache-none", "--preview-method", "latent2rgb"]
    with Host(comfyui, base, {**PACKS, **others}, options=options) as running:
        running.client = RerunningClient(running.url)
        yield running


@pytest.fixture(scope="module")
def client(host: Host) -> Client:
    return host.client


@pytest.fixture(scope="module")
def known(client: Client) -> set[str]:
    """The nodes of all packs."""
    return set(client.get("/object_info"))


@pytest.fixture(scope="module")
def source(host: Host, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Source:
    from conftest import square_picture

    folder = tmp_path_factory.mktemp("pictures")
    return source_of(host.checkpoints / SMALL, lambda size: client.upload_image(square_picture(size, folder)))


def need(known: set[str], *nodes: str) -> None:
    missing = sorted(set(nodes) - known)
    if missing:
        pytest.skip(f"no pack has {', '.join(missing)}")


def sampled(source: Source, clip: Clip, kind: str, patch: Any = None, condition: Any = None) -> tuple[Graph, Link]:
    """A graph up to the latents. patch: MODEL to MODEL; condition: conditioning to conditioning."""
    graph = Graph()
    loader = add_loader(graph, source, kind == "native")
    conditioning = add_conditioning(graph, source, loader, clip, STAGES if kind == "native" else ())
    if condition is not None:
        conditioning = condition(graph, conditioning)
    model = loader[0] if patch is None else patch(graph, loader[0])
    return graph, add_sampler(graph, model, conditioning, clip, kind != "sampler")[0]


def latents(
    client: Client, host: Host, source: Source, clip: Clip, kind: str, patch: Any = None, condition: Any = None
) -> torch.Tensor:
    graph, link = sampled(source, clip, kind, patch, condition)
    graph.add("TestSaveTensors", name=kind, latent=link)
    return run_and_load(client, host.output, graph.prompt)["latent"]


def compare(client: Client, host: Host, source: Source, clip: Clip, patch: Any = None, condition: Any = None) -> None:
    """Something of a pack changes the clip, on our MODEL as on the native one."""
    native = latents(client, host, source, clip, "native", patch, condition)
    effect = relative_error(native, latents(client, host, source, clip, "native"))
    errors = {
        kind: relative_error(latents(client, host, source, clip, kind, patch, condition), native) for kind in KINDS[1:]
    }
    print("effect", effect, errors)
    assert native.isfinite().all() and effect > LEAST_EFFECT
    assert max(errors.values()) <= TOLERANCE


def test_the_packs_load_beside_ours(host: Host, known: set[str]) -> None:
    assert {"SVD_Loader", "SVD_Sampler"} <= known
    assert "custom_nodes/svd-nodes (IMPORT FAILED)" not in host.log_text()


CONTEXTS = {
    "ADE_StandardStaticContextOptions": {"context_length": 8, "context_overlap": 4},
    "ADE_StandardUniformContextOptions": {"context_length": 8, "context_stride": 1, "context_overlap": 4},
    "ADE_LoopedUniformContextOptions": {
        "context_length": 8,
        "context_stride": 1,
        "context_overlap": 4,
        "closed_loop": True,
    },
}


@pytest.mark.parametrize("options", CONTEXTS)
@pytest.mark.parametrize("fuse", ["pyramid", "flat"])
def test_windows_of_animatediff_evolved(
    client: Client, host: Host, known: set[str], source: Source, options: str, fuse: str
) -> None:
    need(known, options, "ADE_UseEvolvedSampling")

    def patch(graph: Graph, model: Link) -> Link:
        context = graph.add(options, fuse_method=fuse, **CONTEXTS[options])
        return graph.add(
            "ADE_UseEvolvedSampling", model=model, beta_schedule="use existing", context_options=context[0]
        )[0]

    compare(client, host, source, LONG, patch)


def test_sampling_settings_of_animatediff_evolved(client: Client, host: Host, known: set[str], source: Source) -> None:
    need(known, "ADE_UseEvolvedSampling", "ADE_AnimateDiffSamplingSettings", "ADE_IterationOptsFreeInit")

    def patch(graph: Graph, model: Link) -> Link:
        free = {"iterations": 2, "filter": "gaussian", "d_s": 0.25, "d_t": 0.25, "n_butterworth": 4, "sigma_step": 999}
        again = graph.add(
            "ADE_IterationOptsFreeInit", apply_to_1st_iter=False, init_type="FreeInit [sampler sigma]", **free
        )
        noise = {"batch_offset": 0, "noise_type": "repeated_context", "seed_gen": "comfy", "seed_offset": 0}
        settings = graph.add(
            "ADE_AnimateDiffSamplingSettings", iteration_opts=again[0], adapt_denoise_steps=False, **noise
        )
        return graph.add(
            "ADE_UseEvolvedSampling", model=model, beta_schedule="use existing", sample_settings=settings[0]
        )[0]

    compare(client, host, source, replace(CLIP, frames=6), patch)


def test_control_of_advanced_controlnet(client: Client, host: Host, known: set[str], source: Source) -> None:
    need(known, "ACN_AdvancedControlNetApply_v2")
    unet = open_checkpoint(host.checkpoints / SMALL).config.unet
    assert unet is not None
    channels = [unet.model_channels * factor for factor in unet.channel_mult]

    def condition(graph: Graph, conditioning: list[Link]) -> list[Link]:
        control = graph.add("TestControl", channels=json.dumps(channels))
        picture = graph.add("LoadImage", image=source.picture)
        settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
        node = graph.add(
            "ACN_AdvancedControlNetApply_v2",
            positive=conditioning[0],
            negative=conditioning[1],
            control_net=control[0],
            image=picture[0],
            **settings,
        )
        return [node[0], node[1], conditioning[2]]

    compare(client, host, source, CLIP, condition=condition)


@pytest.mark.parametrize("format_", ["image/gif", "image/webp", "video/h264-mp4"])
@pytest.mark.parametrize("kind", ["model", "sampler"])
def test_videohelpersuite_combines_latents(
    client: Client, host: Host, known: set[str], source: Source, kind: str, format_: str
) -> None:
    need(known, "VHS_VideoCombine")
    graph, link = sampled(source, CLIP, kind)
    vae = graph.add("SVD_Loader", checkpoint=source.checkpoint, weight_dtype="auto")[2]
    settings = {"frame_rate": 7.0, "loop_count": 0, "filename_prefix": kind, "format": format_, "pingpong": False}
    save = graph.add("VHS_VideoCombine", images=link, vae=vae, save_output=True, **settings)
    run = succeeded(client.run(graph.prompt))
    (saved,) = run.outputs[save.id]["gifs"]
    with av.open(str(host.output / saved["filename"])) as video:
        frames = sum(1 for _ in video.decode(video=0)) if format_ != "image/webp" else CLIP.frames
    assert frames == CLIP.frames


def test_videohelpersuite_decodes_in_pieces(client: Client, host: Host, known: set[str], source: Source) -> None:
    """A batch that holds the clip is the clip; smaller ones are clips of their own, with our VAE as with the host's."""
    need(known, "VHS_VAEDecodeBatched")
    decoded = {}
    for kind, per_batch in (("native", 4), ("model", 4), ("native", 2), ("model", 2)):
        graph, link = sampled(source, CLIP, "model")
        vae = add_loader(graph, source, kind == "native")[2]
        frames = graph.add("VHS_VAEDecodeBatched", samples=link, vae=vae, per_batch=per_batch)
        graph.add("TestSaveTensors", name="batched", image=frames[0])
        decoded[kind, per_batch] = run_and_load(client, host.output, graph.prompt)["image"]
    whole, pieces = (relative_error(decoded["model", size], decoded["native", size]) for size in (4, 2))
    seam = relative_error(decoded["model", 2], decoded["model", 4])
    print("batched", whole, pieces, "seam", seam)
    assert max(whole, pieces) <= TOLERANCE
    assert seam > LEAST_EFFECT


@pytest.mark.parametrize("kind", ["model", "sampler"])
def test_videohelpersuite_shows_previews(
    client: Client, host: Host, known: set[str], source: Source, kind: str
) -> None:
    need(known, "VHS_VideoCombine")
    graph, link = sampled(source, CLIP, kind)
    graph.add("TestSaveTensors", name="previews", latent=link)
    before, seen = len(host.log_text()), []
    extra = {"extra_pnginfo": {"workflow": {"extra": {"VHS_latentpreview": True, "VHS_latentpreviewrate": 1000}}}}
    post = client.post
    client.post = lambda path, body: post(path, {**body, "extra_data": extra} if path == "/prompt" else body)  # type: ignore[method-assign]
    try:
        succeeded(client.run(graph.prompt, on_event=lambda event: seen.append(event)))
    finally:
        del client.post
    told = [event.data for event in seen if event.type == "VHS_latentpreview"]
    assert [entry["length"] for entry in told] == [CLIP.frames]
    assert sum(event.type == "binary" for event in seen) > 0
    assert "Traceback" not in host.log_text()[before:]


def test_loader_of_easy_use(client: Client, host: Host, known: set[str], source: Source) -> None:
    """Its MODEL and pipe in SVD Sampler, and our MODEL in its sampler."""
    need(known, "easy svdLoader", "easy preSampling", "easy kSampler", "easy pipeOut", "easy pipeIn")
    settings = {"steps": CLIP.steps, "cfg": CLIP.max_cfg, "sampler_name": "euler", "scheduler": "karras"}
    settings |= {"denoise": 1.0, "seed": CLIP.seed}

    def easy(kind: str) -> torch.Tensor:
        graph = Graph()
        picture = graph.add("LoadImage", image=source.picture)[0]
        config = source.native_loader["config"]
        loader = graph.add("TestEasyLoader", checkpoint=source.checkpoint, config=config, image=picture)
        parts = graph.add("easy pipeOut", pipe=loader[0])
        if kind == "sampler":
            link = add_sampler(
                graph, loader[1], [parts[2], parts[3], parts[4]], replace(CLIP, min_cfg=CLIP.max_cfg), False
            )[0]
        else:
            pipe = loader[0]
            if kind == "model":
                ours = add_loader(graph, source, native=False)
                pipe = graph.add("easy pipeIn", pipe=loader[0], model=ours[0], vae=ours[2])[0]
            ready = graph.add("easy preSampling", pipe=pipe, **settings)
            done = graph.add("easy kSampler", pipe=ready[0], image_output="Hide", link_id=0, save_prefix="easy")
            link = graph.add("easy pipeOut", pipe=done[0])[4]
        graph.add("TestSaveTensors", name="easy", latent=link)
        return run_and_load(client, host.output, graph.prompt)["latent"]

    native = easy("native")
    errors = {kind: relative_error(easy(kind), native) for kind in KINDS[1:]}
    print("easy", errors)
    assert max(errors.values()) <= TOLERANCE
