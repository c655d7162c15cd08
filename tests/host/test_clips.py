"""Several clips in one run: each is the clip that its picture and seed give alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL
from graphs import Graph, Node, Source, relative_error, run_and_load, succeeded
from PIL import Image
from test_wrong_input import assert_one_sentence, failure

from tools.client import Client
from tools.host import Host

FRAMES, SEED, AUGMENTATION_SEED = 4, 11, 5
ROUNDING = 5e-5  # what the steps make of the rounding of a split; a frame of another clip would be seen at 1e-2

Tensors = dict[str, torch.Tensor]
Run = Callable[..., Tensors]


@pytest.fixture(scope="module")
def names(host: Host, source: Source, upload_square: Callable[..., str]) -> tuple[str, str]:
    size = Image.open(host.base / "input" / source.picture).width
    return source.picture, upload_square(size, flip=True)


def conditioned(graph: Graph, model: Node, names: Sequence[str], seed: int = AUGMENTATION_SEED) -> Node:
    """VAE Encode Conditioning of one picture, or of two in a batch."""
    loaded = [graph.add("LoadImage", image=name) for name in names]
    image = loaded[0] if len(loaded) == 1 else graph.add("ImageBatch", image1=loaded[0][0], image2=loaded[1][0])
    embedding = graph.add("SVD_CLIPImageEncode", clip_vision=model[1], image=image[0], fit="squash")
    shape = {"width": 64, "height": 64, "fit": "crop", "video_frames": FRAMES}
    speed = {"motion_bucket_id": 100, "fps": 7, "augmentation_level": 0.1, "seed": seed}
    inputs = {"vae": model[2], "image": image[0], "clip_vision_output": embedding[0]}
    return graph.add("SVD_VAEEncodeConditioning", **inputs, **shape, **speed)


def sampled(graph: Graph, model: Node, cond: Node, seed: int = SEED, **settings: Any) -> Node:
    usual = {"steps": 2, "min_cfg": 1.0, "max_cfg": 3.0, "guidance": "linear", "sampler": "euler", "denoise": 1.0}
    inputs = {"model": model[0], "positive": cond[0], "negative": cond[1], "latent_image": cond[2]}
    return graph.add("SVD_Sampler", **{**inputs, **usual, "schedule": "karras", "seed": seed, **settings})


def natively_sampled(graph: Graph, model: Node, cond: Node, latent: list[Any]) -> Node:
    guided = graph.add("VideoLinearCFGGuidance", model=model[0], min_cfg=1.0)
    kind = {"sampler_name": "euler", "scheduler": "karras", "steps": 2, "cfg": 3.0, "denoise": 1.0, "seed": SEED}
    return graph.add("KSampler", model=guided[0], positive=cond[0], negative=cond[1], latent_image=latent, **kind)


def saved(graph: Graph, model: Node, latent: Node, frames_at_once: int = 0) -> Graph:
    frames = graph.add("SVD_TemporalVAEDecode", vae=model[2], samples=latent[0], frames_at_once=frames_at_once)
    graph.add("TestSaveTensors", name="clips", latent=latent[0], image=frames[0])
    return graph


def loaded_model(graph: Graph) -> Node:
    return graph.add("SVD_Loader", checkpoint=SMALL, weight_dtype="auto")


@pytest.fixture(scope="module")
def run(client: Client, host: Host) -> Run:
    """Latents and frames of pictures, by our nodes."""

    def run(
        names: Sequence[str], seed: int = SEED, augmentation: int = 5, at_once: int = 0, **settings: Any
    ) -> Tensors:
        graph = Graph()
        model = loaded_model(graph)
        latent = sampled(graph, model, conditioned(graph, model, names, augmentation), seed, **settings)
        return run_and_load(client, host.output, saved(graph, model, latent, at_once).prompt)

    return run


@pytest.fixture(scope="module")
def alone(run: Run, names: tuple[str, str]) -> Tensors:
    """The two clips of two runs, joined."""
    return joined(run([name], SEED + k, AUGMENTATION_SEED + k) for k, name in enumerate(names))


def joined(runs: Any) -> Tensors:
    clips = list(runs)
    return {name: torch.cat([clip[name] for clip in clips]) for name in clips[0]}


def assert_same(ours: Tensors, wanted: Tensors) -> None:
    errors = {name: relative_error(ours[name], wanted[name]) for name in ("latent", "image")}
    print(errors)
    assert max(errors.values()) <= ROUNDING, errors


def test_the_frames_of_an_animation_become_clips_with_a_word(host: Host, client: Client) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    frames[0].save(host.base / "input" / "sticker.webp", save_all=True, append_images=frames[1:], lossless=True)
    graph = Graph()
    latent = conditioned(graph, loaded_model(graph), ["sticker.webp"])
    graph.add("TestSaveTensors", name="sticker", latent=latent[2])
    made = run_and_load(client, host.output, graph.prompt)
    assert len(made["latent"]) == 3 * FRAMES
    assert f"3 pictures: 3 clips of {FRAMES} frames." in host.log_text()


def test_the_clips_differ(alone: Tensors) -> None:
    first, second = alone["latent"].split(FRAMES)
    assert relative_error(first, second) > 0.1


@pytest.mark.parametrize("memory", ["automatic", "fastest", "smallest"])
def test_two_pictures_give_the_clips_of_two_runs(run: Run, names: tuple[str, str], alone: Tensors, memory: str) -> None:
    together = run(names, memory=memory, at_once={"smallest": 1}.get(memory, 0))
    assert together["image"].shape[0] == 2 * FRAMES
    assert_same(together, alone)


def test_noise_of_every_step_is_that_of_the_clip(run: Run, names: tuple[str, str]) -> None:
    settings = {"sampler": "euler_ancestral", "steps": 3}
    apart = joined(run([name], SEED + k, AUGMENTATION_SEED + k, **settings) for k, name in enumerate(names))
    assert_same(run(names, **settings), apart)


def test_clips_of_one_picture_have_the_seeds_that_follow(run: Run, names: tuple[str, str]) -> None:
    apart = joined(run(names[:1], SEED + k) for k in range(3))
    assert_same(run(names[:1], clips=3), apart)


def test_clips_of_two_pictures_stand_picture_by_picture(run: Run, names: tuple[str, str]) -> None:
    apart = joined(run([names[k // 2]], SEED + k, AUGMENTATION_SEED + k // 2) for k in range(4))
    assert_same(run(names, clips=2), apart)


def test_repeated_latents_are_clips_too(client: Client, host: Host, run: Run, names: tuple[str, str]) -> None:
    graph = Graph()
    model = loaded_model(graph)
    cond = conditioned(graph, model, names[:1])
    repeated = graph.add("RepeatLatentBatch", samples=cond[2], amount=2)
    latent = sampled(graph, model, cond, latent_image=repeated[0])
    ours = run_and_load(client, host.output, saved(graph, model, latent).prompt)
    assert_same(ours, run(names[:1], clips=2))


def test_clips_through_the_hosts_model(client: Client, host: Host, source: Source, names: tuple[str, str]) -> None:
    """The host's own class knows one clip at a time; SVD Sampler gives it one at a time."""

    def run(names: Sequence[str], k: int) -> Tensors:
        graph = Graph()
        model = graph.add(**source.native_loader)
        latent = sampled(graph, model, conditioned(graph, model, names, AUGMENTATION_SEED + k), SEED + k)
        return run_and_load(client, host.output, saved(graph, model, latent).prompt)

    assert_same(run(names, 0), joined(run([name], k) for k, name in enumerate(names)))


def test_clips_through_the_hosts_sampler(client: Client, host: Host, names: tuple[str, str]) -> None:
    """KSampler draws the noise of all frames from one seed, so the second clip's noise is that of later frames."""

    def run(names: Sequence[str], k: int = 0) -> Tensors:
        graph = Graph()
        model = loaded_model(graph)
        cond = conditioned(graph, model, names, AUGMENTATION_SEED + k)
        latent = cond[2]
        if k:
            repeated = graph.add("RepeatLatentBatch", samples=cond[2], amount=2)
            latent = graph.add("LatentFromBatch", samples=repeated[0], batch_index=k * FRAMES, length=FRAMES)[0]
        return run_and_load(
            client, host.output, saved(graph, model, natively_sampled(graph, model, cond, latent)).prompt
        )

    assert_same(run(names), joined(run([name], k) for k, name in enumerate(names)))


def test_saved_clips_are_decoded_apart_when_told_their_length(
    client: Client, host: Host, run: Run, names: tuple[str, str], tmp_path: Path
) -> None:
    """A file of latents does not say how long a clip is."""
    graph = Graph()
    model = loaded_model(graph)
    latent = sampled(graph, model, conditioned(graph, model, names))
    graph.add("SaveLatent", samples=latent[0], filename_prefix="two_clips")
    saved(graph, model, latent)
    wanted = run_and_load(client, host.output, graph.prompt)
    (file,) = host.output.glob("two_clips*.latent")
    file.rename(host.base / "input" / file.name)

    again = Graph()
    model = loaded_model(again)
    latent = again.add("LoadLatent", latent=file.name)
    told = {"vae": model[2], "samples": latent[0], "frames_at_once": 0, "video_frames": FRAMES}
    frames = again.add("SVD_TemporalVAEDecode", **told)
    again.add("TestSaveTensors", name="clips", latent=latent[0], image=frames[0])
    assert_same(run_and_load(client, host.output, again.prompt), wanted)


def test_correction_is_of_each_clip(client: Client, host: Host, names: tuple[str, str]) -> None:
    def corrected(pictures: Sequence[str], seed: int, augmentation_seed: int) -> torch.Tensor:
        graph = Graph()
        model = loaded_model(graph)
        latent = sampled(graph, model, conditioned(graph, model, pictures, augmentation_seed), seed)
        settings = {"post_normalize": True, "contrast_enhance_scale": 1.2}
        evened = graph.add("SVD_LatentCorrection", samples=latent[0], **settings)
        graph.add("TestSaveTensors", name="corrected", latent=evened[0])
        return run_and_load(client, host.output, graph.prompt)["latent"]

    both = corrected(names, SEED, AUGMENTATION_SEED)
    second = corrected(names[1:], SEED + 1, AUGMENTATION_SEED + 1)
    assert relative_error(both[FRAMES:], second) < ROUNDING


@pytest.mark.parametrize("node", ["SVD_HoldFrames", "SVD_VideoEncode"])
def test_nodes_for_one_clip_say_so(client: Client, names: tuple[str, str], node: str) -> None:
    graph = Graph()
    model = loaded_model(graph)
    cond = conditioned(graph, model, names)
    picture = graph.add("LoadImage", image=names[0])
    given = {"pictures": picture[0], "frame_ids": "0"} if node == "SVD_HoldFrames" else {"video": picture[0]}
    latent = graph.add(node, vae=model[2], latent=cond[2], fit="crop", **given)
    graph.add("TestSaveTensors", name="refused", latent=latent[0])
    refused_by, sentence = failure(client, graph.prompt)
    assert refused_by == node and "this LATENT holds 2" in sentence
    assert_one_sentence(sentence)


def test_colours_are_matched_picture_by_picture(client: Client, host: Host, names: tuple[str, str]) -> None:
    """A clip of each of two pictures, here the pictures themselves: each has its colours already."""

    def pictures(matched: bool) -> torch.Tensor:
        graph = Graph()
        picture = graph.add("LoadImage", image=names[0])
        negative = graph.add("ImageInvert", image=picture[0])
        shown = graph.add("ImageBatch", image1=picture[0], image2=negative[0])
        if matched:
            shown = graph.add("SVD_ColourMatch", frames=shown[0], picture=shown[0], strength=1.0)
        graph.add("TestSaveTensors", name="matched", image=shown[0])
        return run_and_load(client, host.output, graph.prompt)["image"]

    plain = pictures(matched=False)
    assert (plain[0].mean((0, 1)) - plain[1].mean((0, 1))).abs().max() > 0.02
    assert (pictures(matched=True) - plain).abs().max() < 5e-3


def test_pictures_that_do_not_match_are_refused(client: Client, names: tuple[str, str]) -> None:
    graph = Graph()
    model = loaded_model(graph)
    cond = conditioned(graph, model, names)
    graph.prompt[cond.id]["inputs"]["image"] = graph.add("LoadImage", image=names[0])[0]
    graph.add("TestSaveTensors", name="never", latent=cond[2])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_VAEEncodeConditioning"
    assert "1 pictures" in sentence and "2" in sentence
    assert_one_sentence(sentence)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("frames", [3, 5])
def test_latents_that_are_no_whole_clips_are_refused(
    client: Client, names: tuple[str, str], native: bool, frames: int
) -> None:
    graph = Graph()
    model = loaded_model(graph)
    cond = conditioned(graph, model, names)
    part = graph.add("LatentFromBatch", samples=cond[2], batch_index=0, length=frames)
    latent = (
        natively_sampled(graph, model, cond, part[0]) if native else sampled(graph, model, cond, latent_image=part[0])
    )
    graph.add("TestSaveTensors", name="never", latent=latent[0])
    _, sentence = failure(client, graph.prompt)
    assert "clips" in sentence
    assert_one_sentence(sentence)


def sheet_of(graph: Graph, model: Node, latent: Node, **settings: Any) -> Node:
    frames = graph.add("SVD_TemporalVAEDecode", vae=model[2], samples=latent[0], frames_at_once=0)
    usual = {"pick": 2, "layout": "moving", "width": 120}
    return graph.add("SVD_ContactSheet", images=frames[0], samples=latent[0], **{**usual, **settings})


@pytest.mark.parametrize(
    ("layout", "shape"), [("moving", (FRAMES, 120, 120, 3)), ("first middle last", (1, 120, 120, 3))]
)
def test_contact_sheet_shows_the_clips_and_hands_on_the_picked_one(
    client: Client, host: Host, run: Run, names: tuple[str, str], layout: str, shape: tuple[int, ...]
) -> None:
    graph = Graph()
    model = loaded_model(graph)
    latent = sampled(graph, model, conditioned(graph, model, names[:1]), clips=3)
    sheet = sheet_of(graph, model, latent, layout=layout)
    graph.add("TestSaveTensors", name="sheet", image=sheet[0])
    shown = run_and_load(client, host.output, graph.prompt)["image"]
    assert shown.shape == shape
    del graph.prompt[str(len(graph.prompt))]
    graph.add("TestSaveTensors", name="picked", image=sheet[1])
    picked = run_and_load(client, host.output, graph.prompt)["image"]
    assert relative_error(picked, run(names[:1], SEED + 1)["image"]) <= ROUNDING


def test_contact_sheet_refuses_a_number_that_is_not_on_it(client: Client, names: tuple[str, str]) -> None:
    graph = Graph()
    model = loaded_model(graph)
    sheet = sheet_of(graph, model, sampled(graph, model, conditioned(graph, model, names)), pick=3)
    graph.add("TestSaveTensors", name="never", image=sheet[0])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_ContactSheet" and "2 clips" in sentence
    assert_one_sentence(sentence)


@pytest.mark.parametrize(("of_the_demo", "width", "height"), [(False, 576, 1024), (True, 64, 128)])
def test_fit_size_proposes_a_size_and_tells_why(
    client: Client, host: Host, names: tuple[str, str], of_the_demo: bool, width: int, height: int
) -> None:
    graph = Graph()
    picture = graph.add("LoadImage", image=names[0])
    tall = graph.add("ImageScale", image=picture[0], upscale_method="area", width=90, height=160, crop="disabled")
    size = graph.add("SVD_FitSize", image=tall[0])
    if of_the_demo:
        model = graph.add("SVD_Loader", checkpoint="svd_demo (bundled)", weight_dtype="auto")
        graph.prompt[size.id]["inputs"]["model"] = model[0]
    shown = [graph.add("PreviewAny", source=size[output]) for output in (0, 1)]
    done = succeeded(client.run(graph.prompt))
    assert [done.outputs[node.id]["text"][0] for node in shown] == [str(width), str(height)]
    assert any(event.type == "binary" for event in done.events)  # the line below the node
    assert f"90x160 (0.56 : 1) becomes {width}x{height}" in host.log_text()
