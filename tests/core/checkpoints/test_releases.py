"""Which release a file is, and what is said about settings far from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from svd_core.checkpoints import open_checkpoint
from svd_core.checkpoints.release_names import describe_guess, guess_release
from svd_core.checkpoints.releases import DEMO, DEMO_CHECKPOINT, RELEASES, advise

BY_NAME = {release.name: release for release in RELEASES}


def guess(*arguments, **options) -> str | None:
    release = guess_release(*arguments, **options)
    return release.name if release else None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("svd.safetensors", "svd"),
        ("svd_xt.safetensors", "svd_xt"),
        ("svd_xt_1_1.safetensors", "svd_xt_1_1"),
        ("SVD/svd-xt-1.1.safetensors", "svd_xt_1_1"),
        ("svd_image_decoder.safetensors", "svd_image_decoder"),
        ("svd_xt_image_decoder-fp16.safetensors", "svd_xt_image_decoder"),
        ("svd_xt-fp16.safetensors", "svd_xt"),
        ("svd_xt_fp16_comfy.safetensors", "svd_xt"),
        ("stable-video-diffusion-img2vid", "svd"),
        ("stable-video-diffusion-img2vid-xt", "svd_xt"),
        ("stable-video-diffusion-img2vid-xt-1-1", "svd_xt_1_1"),
        ("models--stabilityai--stable-video-diffusion-img2vid-xt-1-1/snapshots/0a1b", "svd_xt_1_1"),
        ("AnimateLCM-SVD-xt.safetensors", None),
        ("AnimateLCM-SVD-xt-1-1_fp16_comfy.safetensors", None),
        ("my_svd_dance.safetensors", None),
        ("dance.safetensors", None),
        ("stableVideoDiffusion_img2vid.safetensors", "svd"),
        ("stableVideoDiffusion_img2vidXt.safetensors", "svd_xt"),
        ("stableVideoDiffusion_img2vidXt11.safetensors", "svd_xt_1_1"),
        ("stableVideoDiffusion_img2vidXt11Fp16.safetensors", "svd_xt_1_1"),
        ("Video-svd_xt.safetensors", "svd_xt"),
        ("svd_xt (1).safetensors", "svd_xt"),
        ("svd (2).safetensors", "svd"),
        ("svd_xt - Copy.safetensors", "svd_xt"),
        ("svd_xt_1_1 - Copy (2).safetensors", "svd_xt_1_1"),
        ("Copy of svd.safetensors", "svd"),
        ("svd_xt 2.safetensors", "svd_xt"),
        ("svd_xt_1_1_fp8_e4m3fn.safetensors", "svd_xt_1_1"),
        ("svd-pruned-bf16.safetensors", "svd"),
        ("svdXT.safetensors", "svd_xt"),
        ("SVD.XT.v1.1.safetensors", "svd_xt_1_1"),
        ("svd_1.1.safetensors", "svd_xt_1_1"),
        ("stable_video_diffusion_image_to_video_xt.safetensors", "svd_xt"),
        ("svd_image_decoder (1).safetensors", "svd_image_decoder"),
        ("svd_demo (1).safetensors", "svd_demo"),
        ("stable-video-diffusion-img2vid/unet/diffusion_pytorch_model.fp16.safetensors", "svd"),
        ("svd_xt (1) - Copy (3) copy 2.safetensors", "svd_xt"),
        (f"svd{' (1)' * 60}.safetensors", "svd"),
        (f"svd{'   copy' * 34}x.safetensors", None),  # in no time
        ("svd_xt_2_0.safetensors", None),
        ("svd_xt_1_2.safetensors", None),
        ("svd_xt_lightning.safetensors", None),
        ("sv3d_u.safetensors", None),
        ("svd_xt_1_1_dance.safetensors", None),
        ("video.safetensors", None),
        ("xt.safetensors", None),
        ("model.safetensors", None),
    ],
)
def test_names(path, expected):
    assert guess(path) == expected
    assert guess(Path("folder") / path) == expected


def test_trained_length_decides_where_the_name_says_nothing():
    assert guess("dance", num_frames=14) == "svd"
    assert guess("dance", num_frames=25) == "svd_xt"
    assert guess("dance", num_frames=21) is None
    assert guess("AnimateLCM-SVD", num_frames=25) is None


def test_what_stays_a_guess_is_said():
    assert describe_guess(BY_NAME["svd"], 14) is None
    assert "25, as SVD XT, is a guess" in str(describe_guess(None, None))
    assert "other than its 21 frames are guesses" in str(describe_guess(None, 21))


def test_trained_length_overrules_the_name():
    assert guess("stable-video-diffusion-img2vid", num_frames=25) == "svd_xt"
    assert guess("stable-video-diffusion-img2vid-xt-1-1", num_frames=25) == "svd_xt_1_1"


def test_decoder_overrules_the_name():
    assert guess("svd_xt.safetensors", temporal_decoder=False) == "svd_xt_image_decoder"
    assert guess("svd_image_decoder.safetensors", temporal_decoder=True) == "svd"
    assert guess("svd_xt_1_1.safetensors", temporal_decoder=False) is None  # never released


def test_registry():
    assert len({release.name for release in RELEASES}) == len(RELEASES) == 6
    for release in RELEASES:
        if release is DEMO:
            continue
        assert release.num_frames == (25 if "xt" in release.name else 14)
        assert release.temporal_decoder == ("image_decoder" not in release.name)
        assert release.license == "Stability AI Community License"
        assert (release.width, release.height, release.fps, release.motion_bucket_id) == (1024, 576, 7, 127)


def test_the_bundled_model_opens_without_a_word(caplog):
    assert open_checkpoint(DEMO_CHECKPOINT).notes == ()
    assert not caplog.messages


def test_the_bundled_model_is_known_by_its_file():
    assert DEMO_CHECKPOINT.is_file()
    assert guess_release(DEMO_CHECKPOINT, temporal_decoder=True) is DEMO
    assert DEMO.license == "Apache-2.0"


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_trained_settings_need_no_advice(release):
    settings = {"num_frames": release.num_frames, "fps": release.fps, "motion_bucket_id": release.motion_bucket_id}
    assert advise(release, width=release.width, height=release.height, **settings) == []
    assert advise(release, width=release.height, height=release.width) == []
    assert advise(release) == []


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("svd", {"num_frames": 25}, "was trained on 14 frames; 25 may look static or drift"),
        ("svd_xt", {"num_frames": 4}, "was trained on 25 frames; 4 may"),
        ("svd_xt", {"width": 256, "height": 256}, "was trained on 1024x576; 256x256 may lose quality"),
        ("svd_xt", {"fps": 3}, "fps 3 may give odd motion"),
        ("svd_xt", {"fps": 60.0}, "fps 60 may give odd motion"),
        ("svd_xt", {"motion_bucket_id": 300}, "300 may give odd motion"),
        ("svd_xt_1_1", {"motion_bucket_id": 40}, "tuned at fps 7 and motion bucket 127 only"),
        ("svd_xt_1_1", {"fps": 12}, "tuned at fps 7 and motion bucket 127 only"),
    ],
)
def test_advice(name, settings, expected):
    (sentence,) = advise(BY_NAME[name], **settings)
    assert expected in sentence


def test_advice_without_a_release_is_general():
    assert advise(None, num_frames=100, width=8, height=8) == []
    assert len(advise(None, fps=1, motion_bucket_id=1000)) == 2
