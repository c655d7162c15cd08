"""Video to video and held frames, in SVD Sampler and in the host's own KSampler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from graphs import Graph, Node, relative_error, run_and_load
from PIL import Image
from test_wrong_input import assert_one_sentence, failure

from svd_core.checkpoints import open_checkpoint
from tests.support.random_checkpoint import write_extension
from tools.client import Client
from tools.host import Host

TOLERANCE = 1e-3  # of the two samplers, as in the swaps
FRAMES, SIDE = 4, 64
MIN_CFG, MAX_CFG, STEPS = 1.0, 2.5, 4


class Rig(Graph):
    """A graph with everything but what the tests are about."""

    def __init__(self, pictures: tuple[str, str]) -> None:
        super().__init__()
        self.loader = self.add("SVD_Loader", checkpoint=SMALL, weight_dtype="auto")
        first, last = (self.add("LoadImage", image=name) for name in pictures)
        self.first, self.last = first, last
        self.both = self.add("ImageBatch", image1=first[0], image2=last[0])
        clip = self.add("SVD_CLIPImageEncode", clip_vision=self.loader[1], image=first[0], fit="squash")
        self.conditioning = self.add(
            "SVD_VAEEncodeConditioning", vae=self.loader[2], image=first[0], clip_vision_output=clip[0], width=SIDE,
            height=SIDE, fit="crop", video_frames=FRAMES, motion_bucket_id=100, fps=7, augmentation_level=0.0, seed=0,
        )  # fmt: skip

    def video(self, frames: int = FRAMES, latent: Node | None = None) -> Node:
        batch = self.add("RepeatImageBatch", image=self.both[0], amount=(frames + 1) // 2)
        cut = self.add("ImageFromBatch", image=batch[0], batch_index=0, length=frames)
        clip = self.conditioning[2] if latent is None else latent[0]
        return self.add("SVD_VideoEncode", vae=self.loader[2], video=cut[0], latent=clip, fit="crop")

    def hold(self, frame_ids: str, pictures: Node | None = None, latent: list | None = None, **rest: list) -> Node:
        return self.add(
            "SVD_HoldFrames", vae=self.loader[2], latent=self.conditioning[2] if latent is None else latent,
            pictures=(pictures or self.both)[0], frame_ids=frame_ids, fit="crop", **rest,
        )  # fmt: skip

    def empty(self) -> Node:
        """The clip of the conditioning, as a node of its own."""
        return self.add("RepeatLatentBatch", samples=self.conditioning[2], amount=1)

    def sampled(self, latent: Node, denoise: float = 1.0, native: bool = False) -> Node:
        shared = {"positive": self.conditioning[0], "negative": self.conditioning[1], "latent_image": latent[0]}
        shared |= {"seed": 5, "steps": STEPS, "denoise": denoise}
        if native:
            guided = self.add("VideoLinearCFGGuidance", model=self.loader[0], min_cfg=MIN_CFG)
            return self.add(
                "KSampler", model=guided[0], cfg=MAX_CFG, sampler_name="euler", scheduler="karras", **shared
            )
        return self.add(
            "SVD_Sampler", model=self.loader[0], min_cfg=MIN_CFG, max_cfg=MAX_CFG, guidance="linear", sampler="euler",
            schedule="karras", **shared,
        )  # fmt: skip


@pytest.fixture
def rig(upload_square: Callable[..., str]) -> Rig:
    return Rig((upload_square(SIDE), upload_square(SIDE, flip=True)))


@pytest.fixture
def latents(client: Client, host: Host, rig: Rig) -> Callable[[dict[str, Node]], dict[str, torch.Tensor]]:
    """Runs the rig once for several results."""

    def run(wanted: dict[str, Node]) -> dict[str, torch.Tensor]:
        found = {}
        for name, node in wanted.items():
            save = rig.add("TestSaveTensors", name=f"given_{name}", latent=node[0])
            found[name] = run_and_load(client, host.output, rig.prompt)["latent"]
            del rig.prompt[save.id]
        return found

    return run


@pytest.mark.parametrize("denoise", [0.5, 0.9])
def test_denoise_is_the_hosts(rig: Rig, latents: Callable, denoise: float) -> None:
    video = rig.video()
    got = latents(
        {"ours": rig.sampled(video, denoise), "native": rig.sampled(video, denoise, native=True), "video": video}
    )
    assert relative_error(got["ours"], got["native"]) <= TOLERANCE
    assert relative_error(got["ours"], got["video"]) > 0.01


def test_an_encoded_video_is_what_the_hosts_encode_gives(rig: Rig, latents: Callable) -> None:
    batch = rig.add("RepeatImageBatch", image=rig.both[0], amount=2)
    got = latents({"ours": rig.video(), "native": rig.add("VAEEncode", pixels=batch[0], vae=rig.loader[2])})
    assert relative_error(got["ours"], got["native"]) <= 1e-6


def test_held_frames_stay_in_both_samplers(rig: Rig, latents: Callable) -> None:
    held = rig.hold("0, -1")
    encoded = rig.add("VAEEncode", pixels=rig.both[0], vae=rig.loader[2])
    got = latents(
        {
            "ours": rig.sampled(held),
            "native": rig.sampled(held, native=True),
            "free": rig.sampled(rig.empty()),
            "encoded": encoded,
        }
    )
    assert relative_error(got["ours"], got["native"]) <= TOLERANCE
    for name in ("ours", "native"):
        assert relative_error(got[name][[0, -1]], got["encoded"]) <= 1e-4, name
    assert relative_error(got["ours"][1:3], got["free"][1:3]) > 10 * TOLERANCE


def test_held_frames_add_up_and_keep_the_video(rig: Rig, latents: Callable) -> None:
    video = rig.video()
    both = rig.hold("1", rig.first, rig.hold("2", rig.last, video[0])[0])
    encoded = rig.add("VAEEncode", pixels=rig.both[0], vae=rig.loader[2])
    got = latents({"held": rig.sampled(both, 0.5), "video": rig.sampled(video, 0.5), "encoded": encoded})
    assert relative_error(got["held"][1:3], got["encoded"]) <= 1e-4
    assert relative_error(got["held"][[0, 3]], got["video"][[0, 3]]) < relative_error(got["held"], got["video"])


@pytest.mark.parametrize("native", [False, True])
def test_a_region_of_every_frame_is_kept_still(
    client: Client, rig: Rig, latents: Callable, tmp_path: Path, native: bool
) -> None:
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    mask.save(tmp_path / f"left_half_{native}.png")
    left = rig.add("LoadImageMask", image=client.upload_image(tmp_path / f"left_half_{native}.png"), channel="red")
    held = rig.hold("all", rig.first, hold_mask=left[0])
    encoded = rig.add("VAEEncode", pixels=rig.first[0], vae=rig.loader[2])
    got = latents({"held": rig.sampled(held, native=native), "encoded": encoded})
    columns = got["held"].shape[-1] // 2
    for frame in got["held"]:
        assert relative_error(frame[..., :columns], got["encoded"][0, ..., :columns]) <= 1e-4
        assert relative_error(frame[..., columns:], got["encoded"][0, ..., columns:]) > 0.1


@pytest.mark.parametrize(
    "frame_ids, words",
    [
        ("0, 4", "no frame 4 in a clip of 4 frames"),
        ("3, -1", "held 2 times"),
        ("0", "2 pictures for 1 held frames"),
        ("0, 1, 2", "2 pictures for 3 held frames"),
        ("first", "frame ids are 'first'"),
        ("", "No held frames are named"),
    ],
)
def test_frames_that_cannot_be_held(client: Client, rig: Rig, frame_ids: str, words: str) -> None:
    rig.add("TestSaveTensors", name="never", latent=rig.hold(frame_ids)[0])
    node, sentence = failure(client, rig.prompt)
    assert node == "SVD_HoldFrames" and words in sentence
    assert_one_sentence(sentence)


def test_a_video_shorter_than_the_clip(client: Client, rig: Rig) -> None:
    rig.add("TestSaveTensors", name="never", latent=rig.video(FRAMES - 1)[0])
    node, sentence = failure(client, rig.prompt)
    assert node == "SVD_VideoEncode" and "has 3 frames and the clip 4" in sentence
    assert_one_sentence(sentence)


def test_corrections_in_a_graph(rig: Rig, client: Client, host: Host) -> None:
    latent = rig.sampled(rig.video(), 0.5)
    corrected = rig.add("SVD_LatentCorrection", samples=latent[0], post_normalize=True, contrast_enhance_scale=1.0)
    frames = rig.add("SVD_TemporalVAEDecode", samples=corrected[0], vae=rig.loader[2], frames_at_once=0)
    matched = rig.add("SVD_ColourMatch", frames=frames[0], picture=rig.first[0], strength=1.0)
    rig.add("TestSaveTensors", name="corrected", latent=corrected[0], image=matched[0])
    saved = run_and_load(client, host.output, rig.prompt)
    assert torch.allclose(saved["latent"].std(dim=(1, 2, 3)), saved["latent"].std().expand(FRAMES), rtol=5e-3)
    means = saved["image"].mean(dim=(1, 2))
    assert float(means.std(dim=0).max()) < 0.03


def test_an_extended_model_in_the_host(rig: Rig, client: Client, host: Host) -> None:
    """Trained positions under the host's layers: as many frames as there are, and no more."""
    config = open_checkpoint(host.checkpoints / SMALL).unet
    write_extension(host.checkpoints / "longer.safetensors", config, num_positions=FRAMES)
    saved = {}
    for name in ("none", "longer.safetensors"):
        rig.prompt[rig.loader.id]["inputs"]["extension"] = name
        node = rig.add("TestSaveTensors", name="extended", latent=rig.sampled(rig.empty())[0])
        saved[name] = run_and_load(client, host.output, rig.prompt)["latent"]
        del rig.prompt[node.id]
    assert saved["longer.safetensors"].isfinite().all()
    assert relative_error(saved["longer.safetensors"], saved["none"]) > 0.01

    rig.prompt[rig.conditioning.id]["inputs"]["video_frames"] = FRAMES + 1
    rig.add("TestSaveTensors", name="never", latent=rig.sampled(rig.empty())[0])
    node_type, sentence = failure(client, rig.prompt)
    assert node_type == "SVD_Sampler" and "extended to 4 frames and 5 were asked for" in sentence
    assert_one_sentence(sentence)
