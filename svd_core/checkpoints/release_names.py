"""Find out which release a checkpoint is from its name, and say so where that stays a guess.

The releases have the same tensors, so nothing but its name tells a single file of 14 frames from one of 25. One release
is offered under many names. A name is taken apart into words; words that say how it was stored, copied or published go;
the rest must read as a release and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

from .releases import DEMO, RELEASES, SVD, SVD_XT, SVD_XT_1_1, UNKNOWN, Release

# Words that say how a file was stored or published, not which model it is.
_STORAGE_WORDS = {"fp32", "fp16", "fp8", "bf16", "float32", "float16", "float8", "half", "full", "f32", "f16", "f8"}
_STORAGE_WORDS |= {"e4m3fn", "e4m3", "e5m2", "scaled", "pruned", "ema", "emaonly", "noema", "only", "no", "repack"}
_STORAGE_WORDS |= {"comfy", "comfyui", "safetensors", "diffusers", "main", "official", "original", "unet", "download"}
_STORAGE_WORDS |= {"model", "checkpoint", "ckpt", "weights", "stabilityai", "copy", "of"}

# What systems and browsers put behind the name of a copy: "(1)", " - Copy", " copy 2", "(copy 1)".
_COPY = re.compile(r"(\(\d+\)|[\W_](copy|kopie|copie|copia)[ _-]?\d*\)?)$", re.IGNORECASE)
_WORD_ENDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])|(?<=[0-9])(?=[A-Z][a-z])")  # svd-xt, img2vidXt11Fp16
# The words left over, without spaces.
_NAME = re.compile(
    r"(video|checkpoints|models|svd(?=svd))?"  # a folder put in front
    r"(svd|stablevideodiffusion|stablevideo)((img|image)(2|to)(vid|video)|i2v)?"
    r"(?P<xt>xt)?(v?(1(?!\d)|10|(?P<new>11)))?(?P<image_decoder>imagedecoder)?"
    r"[2-9]?"  # the system's number of a copy
)

# Distilled and derived models: they need other defaults, whatever their trained length.
_OTHER_MODELS = re.compile(r"lcm|turbo|lightning|sv3d|sv4d|exvideo|controlnext|distil")


def guess_release(
    path: str | Path, *, num_frames: int | None = None, temporal_decoder: bool | None = None
) -> Release | None:
    """Guess the release from the name of a file or folder, and from what the files state.

    num_frames: the trained length if the files state it (`unet/config.json`); it decides if the name says nothing, and
    overrules a name that contradicts it. temporal_decoder: what the file holds; it overrules the name.
    None for the name of another model or fine-tune, and for a name that says nothing without num_frames.
    """
    name = _telling_name(Path(path))
    release = find_release(name)
    if release is not None and num_frames not in (None, release.num_frames):
        release = None
    if release is None and not _OTHER_MODELS.search(name.lower()):
        release = {14: SVD, 25: SVD_XT}.get(num_frames or 0)
    if release is None or temporal_decoder in (None, release.temporal_decoder):
        return release
    return _swap_decoder(release)


def find_release(name: str) -> Release | None:
    """The release that a name without its suffix stands for; None for any other model."""
    words = [word.lower() for word in _WORD_ENDS.split(_drop_copies(name))]
    joined = "".join(word for word in words if word not in _STORAGE_WORDS)
    if joined == "svddemo":
        return DEMO
    found = _NAME.fullmatch(joined)
    if found is None:
        return None
    if found["new"]:  # there is no 1.1 of the model for 14 frames
        return SVD_XT_1_1
    release = SVD_XT if found["xt"] else SVD
    return _swap_decoder(release) if found["image_decoder"] else release


def _drop_copies(name: str) -> str:
    """The name without what copying has put behind it, as often as it was copied."""
    while (shorter := _COPY.sub("", name.rstrip(" ._-"))) != name:
        name = shorter
    return name


def describe_guess(release: Release | None, num_frames: int | None) -> str | None:
    """A sentence about defaults that nothing in a checkpoint or its name decides; None if there are none."""
    if release is not None:
        return None
    if num_frames:
        return (
            f"The checkpoint is no release that SVD Nodes knows; defaults other than its {num_frames} frames are "
            f"guesses, those of SVD XT."
        )
    return (
        f"Neither the checkpoint nor its name says how many frames it was made for; {UNKNOWN.num_frames}, as SVD XT, "
        f"is a guess (the first SVD was made for {SVD.num_frames})."
    )


def _telling_name(path: Path) -> str:
    """The name of the file, or of the folder that names it, without the suffix of a file."""
    if path.parent.name == "snapshots":  # the hub's cache: models--OWNER--NAME/snapshots/HASH
        return path.parent.parent.name.rpartition("--")[2]
    if path.parent.name in ("unet", "unet_ema") and path.stem.startswith("diffusion_pytorch_model"):
        return _telling_name(path.parent.parent)
    return path.stem if path.suffix == ".safetensors" else path.name


def _swap_decoder(release: Release) -> Release | None:
    """The release of this length with the other decoder; None if none was published."""
    if release in (SVD_XT_1_1, DEMO):
        return None
    length, temporal = release.num_frames, release.temporal_decoder
    return next((each for each in RELEASES if each.num_frames == length and each.temporal_decoder != temporal), None)
