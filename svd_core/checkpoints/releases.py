"""The released models, and the small one that ships here: what each was trained for, for defaults and warnings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LICENSE = "Stability AI Community License"


@dataclass(frozen=True)
class LatentColours:
    """A linear guess of the colours, in [-1, 1], that latents in diffusion space stand for."""

    factors: tuple[tuple[float, float, float], ...]  # for each channel
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
    file_names: tuple[str, ...]  # of the official file, and of the folder in the diffusers layout
    fps: int = 7
    motion_bucket_id: int = 127
    noise_aug_strength: float = 0.02
    width: int = 1024
    height: int = 576
    fixed_conditioning: bool = False  # fine-tuned at one fps and one motion bucket only
    license: str = LICENSE
    colours: LatentColours | None = None  # where the latents are not those of Stable Diffusion 1.x


_SVD = Release(
    name="svd",
    title="Stable Video Diffusion (14 frames)",
    num_frames=14,
    min_cfg_scale=1.0,
    max_cfg_scale=2.5,
    steps=25,
    temporal_decoder=True,
    file_names=("svd", "stable-video-diffusion-img2vid"),
)
_SVD_XT = Release(
    name="svd_xt",
    title="Stable Video Diffusion XT (25 frames)",
    num_frames=25,
    min_cfg_scale=1.5,
    max_cfg_scale=3.0,
    steps=30,
    temporal_decoder=True,
    file_names=("svd_xt", "svd_xt_1_0", "stable-video-diffusion-img2vid-xt"),
)
_SVD_XT_1_1 = Release(
    name="svd_xt_1_1",
    title="Stable Video Diffusion XT 1.1 (25 frames)",
    num_frames=25,
    min_cfg_scale=1.5,
    max_cfg_scale=3.0,
    steps=30,
    temporal_decoder=True,
    file_names=("svd_xt_1_1", "svd_xt_11", "svd_xt11", "stable-video-diffusion-img2vid-xt-1-1"),
    fixed_conditioning=True,
)
_SVD_IMAGE_DECODER = Release(
    name="svd_image_decoder",
    title="Stable Video Diffusion (14 frames), image decoder",
    num_frames=14,
    min_cfg_scale=1.0,
    max_cfg_scale=2.5,
    steps=25,
    temporal_decoder=False,
    file_names=("svd_image_decoder",),
)
_SVD_XT_IMAGE_DECODER = Release(
    name="svd_xt_image_decoder",
    title="Stable Video Diffusion XT (25 frames), image decoder",
    num_frames=25,
    min_cfg_scale=1.5,
    max_cfg_scale=3.0,
    steps=30,
    temporal_decoder=False,
    file_names=("svd_xt_image_decoder",),
)
DEMO = Release(
    name="svd_demo",
    title="The SVD demo model (14 frames)",
    num_frames=14,
    min_cfg_scale=1.0,
    max_cfg_scale=1.5,
    steps=25,
    temporal_decoder=True,
    file_names=("svd_demo",),
    width=96,
    height=96,
    license="Apache-2.0",
    colours=LatentColours(  # fitted by `python -m training colours`
        factors=((-0.258, -0.271, -0.160), (0.089, 0.094, 0.155), (-0.149, -0.137, -0.236), (0.115, 0.109, 0.169)),
        bias=(-0.154, -0.145, -0.134),
    ),
)
EXVIDEO = Release(  # what an extension makes of a checkpoint; no file of its own
    name="exvideo",
    title="ExVideo-SVD (128 frames)",
    num_frames=128,
    min_cfg_scale=2.0,
    max_cfg_scale=2.0,
    steps=50,
    temporal_decoder=True,
    file_names=(),
    fps=30,
    noise_aug_strength=0.0,
    width=512,
    height=512,
    license="see its authors' page; beside that of the checkpoint",
)
UNKNOWN = _SVD_XT  # the defaults of a checkpoint whose name does not tell what it is
RELEASES = (_SVD, _SVD_XT, _SVD_XT_1_1, _SVD_IMAGE_DECODER, _SVD_XT_IMAGE_DECODER, DEMO)

DEMO_CHECKPOINT = Path(__file__).parent.parent / "svd_demo.safetensors"
"""Ships with the package: a model of a few megabytes that animates drawn scenes of 96x96 pixels, and nothing else."""

# words that say how a file was stored, not what it is
_STORAGE_WORDS = {
    "fp32",
    "fp16",
    "bf16",
    "float16",
    "half",
    "f16",
    "comfy",
    "comfyui",
    "safetensors",
    "diffusers",
    "main",
}


def guess_release(
    path: str | Path, *, num_frames: int | None = None, temporal_decoder: bool | None = None
) -> Release | None:
    """The release a file or folder seems to be, from its name.

    num_frames: the trained length where the files state it (`unet/config.json`); decides when the name says nothing
    and overrules a name that contradicts it. temporal_decoder: what the file holds, overrules the name.
    None for a name that belongs to another model or fine-tune, and for one that says nothing without num_frames.
    """
    path = Path(path)
    named = _named(path.stem if path.suffix == ".safetensors" else path.name)
    if named is None and path.parent.name == "snapshots":  # the hub's cache: models--OWNER--NAME/snapshots/HASH
        named = _named(path.parent.parent.name.rpartition("--")[2])
        path = path.parent.parent
    if named is not None and num_frames not in (None, named.num_frames):
        named = None
    if named is None and not _is_other_model(path.name):
        named = {14: _SVD, 25: _SVD_XT}.get(num_frames or 0)
    if named is None or temporal_decoder in (None, named.temporal_decoder):
        return named
    return _with_decoder(named, temporal_decoder)


def advise(
    release: Release | None,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    width: int | None = None,
    height: int | None = None,
    motion_bucket_id: float | None = None,
) -> list[str]:
    """Sentences about settings far from what the model was trained for; empty when all is well."""
    advice = _general_advice(fps, motion_bucket_id)
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


def _general_advice(fps: float | None, motion_bucket_id: float | None) -> list[str]:
    advice = []
    if fps is not None and not 6 <= fps <= 31:
        advice.append(f"The models were trained at 6 to 31 frames per second; fps {fps:g} may give odd motion.")
    if motion_bucket_id is not None and motion_bucket_id > 255:
        advice.append(f"Motion buckets were trained from 0 to 255; {motion_bucket_id:g} may give odd motion.")
    return advice


def _named(name: str) -> Release | None:
    words = _words(name)
    for release in RELEASES:
        if any(words == _words(known) for known in release.file_names):
            return release
    return None


def _words(name: str) -> tuple[str, ...]:
    """The words of a file name that tell models apart."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return tuple(word for word in words if word and word not in _STORAGE_WORDS)


def _is_other_model(name: str) -> bool:
    """Distilled and derived models have other defaults, whatever their trained length."""
    return re.search(r"lcm|turbo|lightning|sv3d|sv4d|exvideo|controlnext|distil", name.lower()) is not None


def _with_decoder(release: Release, temporal: bool) -> Release | None:
    twins = (r for r in RELEASES if r.num_frames == release.num_frames and r.temporal_decoder == temporal)
    return None if release in (_SVD_XT_1_1, DEMO) else next(twins, None)
