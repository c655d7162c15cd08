"""The released models and the demo model: what each was trained for, as defaults and for advice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

LICENSE = "Stability AI Community License"


@dataclass(frozen=True)
class LatentColours:
    """A linear map from latents in diffusion space to colours in [-1, 1]."""

    factors: tuple[tuple[float, float, float], ...]  # per latent channel
    bias: tuple[float, float, float]


@dataclass(frozen=True)
class Release:
    """One released checkpoint. fps and motion_bucket_id are the values its authors sample with."""

    name: str
    title: str
    num_frames: int
    min_cfg_scale: float
    max_cfg_scale: float
    steps: int
    temporal_decoder: bool
    fps: int = 7
    motion_bucket_id: int = 127
    noise_aug_strength: float = 0.02
    width: int = 1024
    height: int = 576
    fixed_conditioning: bool = False  # fine-tuned at one fps and one motion bucket only
    license: str = LICENSE
    colours: LatentColours | None = None  # None: those of Stable Diffusion 1.x
    sha256: str = ""  # of the official file, where it is published


SVD = Release(
    name="svd",
    title="Stable Video Diffusion (14 frames)",
    num_frames=14,
    min_cfg_scale=1.0,
    max_cfg_scale=2.5,
    steps=25,
    temporal_decoder=True,
    sha256="3e0994626df395a3831de024f11b2d9d241143bb6f16e2efbacced248aa18ce0",
)
SVD_XT = Release(
    name="svd_xt",
    title="Stable Video Diffusion XT (25 frames)",
    num_frames=25,
    min_cfg_scale=1.5,
    max_cfg_scale=3.0,
    steps=30,
    temporal_decoder=True,
    sha256="b2652c23d64a1da5f14d55011b9b6dce55f2e72e395719f1cd1f8a079b00a451",
)
SVD_XT_1_1 = Release(
    name="svd_xt_1_1",
    title="Stable Video Diffusion XT 1.1 (25 frames)",
    num_frames=25,
    min_cfg_scale=1.5,
    max_cfg_scale=3.0,
    steps=30,
    temporal_decoder=True,
    fixed_conditioning=True,
)
_SVD_IMAGE_DECODER = replace(
    SVD,
    name="svd_image_decoder",
    title="Stable Video Diffusion (14 frames), image decoder",
    temporal_decoder=False,
    sha256="",  # not that of SVD; its own was not found in two places
)
_SVD_XT_IMAGE_DECODER = replace(
    SVD_XT,
    name="svd_xt_image_decoder",
    title="Stable Video Diffusion XT (25 frames), image decoder",
    temporal_decoder=False,
    sha256="99aa889bf6d1ca28e026755b83ba37e3072ad79b45dd4c94fae14bee7482263b",
)
DEMO = Release(
    name="svd_demo",
    title="The SVD demo model (14 frames)",
    num_frames=14,
    min_cfg_scale=1.0,
    max_cfg_scale=1.5,
    steps=25,
    temporal_decoder=True,
    width=96,
    height=96,
    license="Apache-2.0",
    colours=LatentColours(  # fitted by `python -m training colours`
        factors=((-0.258, -0.271, -0.160), (0.089, 0.094, 0.155), (-0.149, -0.137, -0.236), (0.115, 0.109, 0.169)),
        bias=(-0.154, -0.145, -0.134),
    ),
)
EXVIDEO = Release(  # a checkpoint with an extension laid over it; has no file of its own
    name="exvideo",
    title="ExVideo-SVD (128 frames)",
    num_frames=128,
    min_cfg_scale=2.0,
    max_cfg_scale=2.0,
    steps=50,
    temporal_decoder=True,
    fps=30,
    noise_aug_strength=0.0,
    width=512,
    height=512,
    license="see its authors' page; beside that of the checkpoint",
)
UNKNOWN = SVD_XT  # defaults for checkpoints whose name says nothing
RELEASES = (SVD, SVD_XT, SVD_XT_1_1, _SVD_IMAGE_DECODER, _SVD_XT_IMAGE_DECODER, DEMO)

DEMO_CHECKPOINT = Path(__file__).parent.parent / "svd_demo.safetensors"
"""The demo model that ships with the package: a few megabytes that animate drawn scenes of 96x96 pixels only."""


def advise(
    release: Release | None,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    width: int | None = None,
    height: int | None = None,
    motion_bucket_id: float | None = None,
) -> list[str]:
    """Sentences about settings far from what the model was trained for; empty if there are none."""
    advice = _advise_for_any(fps, motion_bucket_id)
    if release is None:
        return advice
    if num_frames is not None and not 0.5 * release.num_frames <= num_frames <= 1.5 * release.num_frames:
        advice.append(
            f"{release.title} was trained on {release.num_frames} frames; {num_frames} may look static or drift."
        )
    if width and height and not 0.5 <= width * height / (release.width * release.height) <= 2:
        advice.append(
            f"{release.title} was trained on {release.width}x{release.height}; {width}x{height} may lose quality."
        )
    fixed = release.fixed_conditioning
    if fixed and (fps not in (None, 6, 7) or motion_bucket_id not in (None, release.motion_bucket_id)):
        advice.append(
            f"{release.title} was tuned at fps {release.fps} and motion bucket {release.motion_bucket_id} only; "
            f"other values may do little."
        )
    return advice


def _advise_for_any(fps: float | None, motion_bucket_id: float | None) -> list[str]:
    advice = []
    if fps is not None and not 6 <= fps <= 31:
        advice.append(f"The models were trained at 6 to 31 frames per second; fps {fps:g} may give odd motion.")
    if motion_bucket_id is not None and motion_bucket_id > 255:
        advice.append(f"Motion buckets were trained from 0 to 255; {motion_bucket_id:g} may give odd motion.")
    return advice
