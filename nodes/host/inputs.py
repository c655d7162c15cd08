"""Check what a node is given before it runs: a socket takes literals through the API, and links of any kind from "*".

`checked` stands on the `execute` of every node; what each kind of input takes is written here, once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from numbers import Integral, Real
from typing import Any, Concatenate, ParamSpec

import comfy.clip_vision
import comfy.model_base
import comfy.model_patcher
import comfy.sd
from torch import Tensor

from ...svd_core.diffusion.latents import check_latents
from ...svd_core.diffusion.noise import MIN_SEED
from ...svd_core.errors import SVDError
from ...svd_core.memory.device import says_out_of_memory
from .folders import io
from .versions import is_oom

P = ParamSpec("P")
Execute = Callable[Concatenate[Any, P], io.NodeOutput]


@dataclass(frozen=True)
class Kind:
    """What a socket takes. source: where it comes from, for the message. check: raises SVDError for what is unfit.

    check is called with the value, the name of the node and the name of the input.
    """

    source: str
    fits: Callable[[Any], bool]
    check: Callable[[Any, str, str], None] = lambda value, node, name: None


def checked(execute: Execute[P]) -> Execute[P]:
    """Raise SVDError for inputs that the node's schema does not allow, before the node runs, and for lack of memory."""
    signature = inspect.signature(execute)

    @wraps(execute)
    def run(cls: Any, *args: P.args, **kwargs: P.kwargs) -> io.NodeOutput:
        given = signature.bind(cls, *args, **kwargs).arguments
        schema = cls.define_schema()
        for item in schema.inputs:
            left_out = item.optional and given.get(item.id) is None
            if item.id in given and not left_out:
                check_input(schema.display_name, item, given[item.id])
        return says_out_of_memory(schema.display_name, is_oom)(execute)(cls, *args, **kwargs)

    return run


def check_input(node: str, item: Any, value: Any) -> None:
    """Raise SVDError unless an input of a node can be this value. item: the input in the node's schema."""
    if item.io_type in KINDS:
        kind = KINDS[item.io_type]
        if not kind.fits(value):
            raise SVDError(f"{node} got {describe(value)} at its input {item.id}; connect {kind.source} there.")
        kind.check(value, node, item.id)
    elif item.io_type in NUMBERS:
        # The host holds typed numbers to these limits, but not the numbers that come over a link.
        number, noun = NUMBERS[item.io_type]
        lowest = MIN_SEED if item.id == "seed" else item.min  # seeds below 0 are as good as any
        if not isinstance(value, number) or not lowest <= value <= item.max:
            raise SVDError(
                f"{node} got {describe(value)} at its input {item.id}; give {noun} from {item.min} to {item.max}."
            )
    elif item.io_type in ("STRING", "COMBO") and not isinstance(value, str):
        raise SVDError(f"{node} got {describe(value)} at its input {item.id}; give a text.")


def describe(value: Any) -> str:
    """A few words for any value, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:37]}..."
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    names = {list: "a list", tuple: "a list", dict: "a dictionary"}
    return names.get(type(value), f"an object of the type {type(value).__name__}")


def check_model(model: Any, node: str, name: str) -> None:
    """Raise SVDError unless a MODEL is Stable Video Diffusion, ours or the host's."""
    if not isinstance(model.model, comfy.model_base.SVD_img2vid):
        raise SVDError(f"The model connected to {node} is not Stable Video Diffusion; use the MODEL of SVD Loader.")


def check_vae(vae: Any, node: str, name: str) -> None:
    """Raise SVDError for a VAE without weights, or of another model family."""
    if vae.first_stage_model is None:
        raise SVDError(f"The VAE connected to {node} is empty, as its file holds none; use the VAE of SVD Loader.")
    if vae.latent_channels != 4 or getattr(vae, "latent_dim", 2) != 2:
        raise SVDError(f"The VAE connected to {node} belongs to another model family; use the VAE of SVD Loader.")


def check_conditioning(cond: Any, node: str, name: str) -> None:
    """Raise SVDError for conditioning without a picture, such as an encoded prompt."""
    if not cond or any("concat_latent_image" not in options for _, options in cond):
        raise SVDError(
            f"The {name} conditioning of {node} holds no picture for SVD (text prompts mean nothing to it); "
            "connect it to VAE Encode Conditioning."
        )


def check_latent(latent: Any, node: str, name: str) -> None:
    """Raise SVDError for latents of another model family."""
    check_latents(latent["samples"])


def is_conditioning(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], Tensor) and isinstance(pair[1], dict)
        for pair in value
    )


def is_image(value: Any) -> bool:
    """True for pictures, b h w c."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.numel() > 0 and value.shape[-1] <= 4


def is_mask(value: Any) -> bool:
    """True for masks, b h w; other packs leave the b out, or put an axis for channels behind it."""
    return isinstance(value, Tensor) and value.ndim in (2, 3, 4) and value.numel() > 0


KINDS = {
    "MODEL": Kind(
        "the MODEL of SVD Loader", lambda value: isinstance(value, comfy.model_patcher.ModelPatcher), check_model
    ),
    "CLIP_VISION": Kind(
        "the CLIP_VISION of SVD Loader", lambda value: isinstance(value, comfy.clip_vision.ClipVisionModel)
    ),
    "VAE": Kind("the VAE of SVD Loader", lambda value: isinstance(value, comfy.sd.VAE), check_vae),
    "CLIP_VISION_OUTPUT": Kind(
        "the CLIP_VISION_OUTPUT of CLIP Image Encode",
        lambda value: isinstance(getattr(value, "image_embeds", None), Tensor) and value.image_embeds.ndim == 2,
    ),
    "CONDITIONING": Kind("the conditioning of VAE Encode Conditioning", is_conditioning, check_conditioning),
    "LATENT": Kind(
        "the LATENT of VAE Encode Conditioning or SVD Sampler",
        lambda value: isinstance(value, dict) and isinstance(value.get("samples"), Tensor),
        check_latent,
    ),
    "IMAGE": Kind("pictures (frames x height x width x channels)", is_image),
    "MASK": Kind("a mask (masks x height x width)", is_mask),
}
NUMBERS: dict[str, tuple[type, str]] = {"INT": (Integral, "a whole number"), "FLOAT": (Real, "a number")}
