"""Graphs as people post them, with the host's nodes around the native MODEL and VAE and around ours.

    python public_process.py COMFYUI CHECKPOINT CONFIG

CONFIG is JSON, as TestNativeLoader takes it. See `pack_in_host.py`. Prints the differences of ours as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from pack_in_host import relative_error, start
from torch import Tensor

SIZES = {"56x56": 4, "88x104": 3, "184x256": 2, "376x512": 2}  # frames of each; latents down to 11x13 and 23x32
PAIRS = (
    *product(("lcm", "uni_pc_bh2", "dpmpp_2s_ancestral", "ddim"), ("normal", "sgm_uniform", "ddim_uniform")),
    *product(("euler_ancestral",), ("karras", "simple")),
    *product(("dpmpp_2m_sde", "ddim"), ("karras",)),
)
NUDGE = 1e-6  # of the picture's latents, about what rounding in fp32 does

Loaded = tuple[Any, Any, Any]
"""MODEL, CLIP_VISION, VAE"""


def main(comfyui: str, checkpoint: str, config: str) -> None:
    start(comfyui)
    sys.path.append(str(Path(__file__).parent))
    import folder_paths
    from pack_as_the_host_loads_it.nodes.host.image_encoder import SVDClipVision
    from pack_as_the_host_loads_it.nodes.host.model import make_model
    from pack_as_the_host_loads_it.nodes.host.vae import SVDVAE
    from pack_as_the_host_loads_it.svd_core.checkpoints import open_checkpoint
    from support_pack.loader import TestNativeLoader

    folder_paths.add_model_folder_path("checkpoints", str(Path(checkpoint).parent))
    with torch.inference_mode():
        native = TestNativeLoader().load(Path(checkpoint).name, config)
        opened = open_checkpoint(checkpoint)
        ours = make_model(opened, None), SVDClipVision(opened, None), SVDVAE(opened, None)
        bench = Bench(native, ours)
        kinds = (sizes, samplers, starts, guiders, two_clips, patches, askers)
        print(json.dumps({kind.__name__: kind(bench) for kind in kinds} | {"device": device(bench)}))


class Bench:
    """Both loaders' objects, and one picture."""

    def __init__(self, native: Loaded, ours: Loaded) -> None:
        self.native, self.ours = native, ours
        self.pictures = torch.rand(2, 96, 96, 3)

    def condition(self, width: int = 64, height: int = 64, frames: int = 4, pictures: int = 1) -> Any:
        """Positive, negative and LATENT of the host's own node, with the native VAE."""
        from comfy_extras.nodes_video_model import SVD_img2vid_Conditioning

        _, clip_vision, vae = self.native
        picture = self.pictures[:pictures]
        return SVD_img2vid_Conditioning().encode(clip_vision, picture, vae, width, height, frames, 100, 7, 0.0)

    def compare(self, sample: Callable[[Any, Any], Tensor], conditioning: Any) -> dict[str, float]:
        """Difference on our MODEL; where it is more than rounding, that of the native MODEL to itself, nudged."""
        theirs = sample(self.native[0], conditioning)
        assert theirs.isfinite().all() and theirs.std() > 0.01
        error = relative_error(sample(self.ours[0], conditioning), theirs)
        if error <= 1e-5:
            return {"error": error, "nudged": 0.0}
        return {"error": error, "nudged": relative_error(sample(self.native[0], nudged(conditioning)), theirs)}


def nudged(conditioning: Any) -> Any:
    """The same conditioning with the picture's latents off by NUDGE."""
    positive, negative, latent = conditioning
    ((embeds, options),) = positive
    own = options["concat_latent_image"]
    options = {**options, "concat_latent_image": own + NUDGE * own.std() * torch.randn_like(own)}
    return [[embeds, options]], negative, latent


def k_sampler(
    sampler: str = "euler",
    scheduler: str = "karras",
    steps: int = 3,
    denoise: float = 1.0,
    cfg: float = 2.5,
    min_cfg: float = 1.0,
) -> Callable[[Any, Any], Tensor]:
    """VideoLinearCFGGuidance and KSampler."""

    def sample(model: Any, conditioning: Any) -> Tensor:
        from comfy_extras.nodes_video_model import VideoLinearCFGGuidance

        import nodes

        (guided,) = VideoLinearCFGGuidance().patch(model, min_cfg)
        (latent,) = nodes.KSampler().sample(guided, 11, steps, cfg, sampler, scheduler, *conditioning, denoise)
        return latent["samples"]

    return sample


def svd_sampler(model: Any, conditioning: Any, steps: int = 3, denoise: float = 1.0, **rest: Any) -> Tensor:
    return svd_latent(model, conditioning, steps, denoise, **rest)["samples"]


def svd_latent(model: Any, conditioning: Any, steps: int, denoise: float = 1.0, **rest: Any) -> dict[str, Any]:
    from pack_as_the_host_loads_it.nodes.sampler import SVDSampler

    settings = (11, steps, 1.0, 2.5, "linear", "euler", "karras", denoise)
    return SVDSampler.execute(model, *conditioning, *settings, **rest).result[0]


def sizes(bench: Bench) -> dict[str, dict[str, float]]:
    """Sizes that are multiples of 8 alone, whole and in the smallest pieces."""
    report = {}
    for size, frames in SIZES.items():
        width, height = map(int, size.split("x"))
        conditioning = bench.condition(width, height, frames)
        theirs = k_sampler()(bench.native[0], conditioning)
        clips = {"KSampler": k_sampler()(bench.ours[0], conditioning)}
        clips["smallest"] = svd_sampler(bench.ours[0], conditioning, memory="smallest")
        if width * height < 100_000:
            clips["automatic"] = svd_sampler(bench.ours[0], conditioning)
        report[size] = {name: relative_error(clip, theirs) for name, clip in clips.items()}
        if width * height < 100_000:
            report[size] |= quickly(bench, conditioning) | decoded(bench, theirs)
    return report


def quickly(bench: Bench, conditioning: Any) -> dict[str, float]:
    """With features kept between steps, whole and in pieces."""
    clips = [svd_sampler(bench.ours[0], conditioning, 6, speed="fastest", memory=m) for m in ("fastest", "smallest")]
    return {"speed fastest": relative_error(clips[1], clips[0])}


def decoded(bench: Bench, latents: Tensor) -> dict[str, float]:
    """VAEDecode with either VAE, and our node with frames one at a time."""
    from pack_as_the_host_loads_it.nodes.temporal_decode import SVDTemporalVAEDecode

    import nodes

    latent, vae = {"samples": latents}, bench.ours[2]
    (theirs,) = nodes.VAEDecode().decode(bench.native[2], latent)
    clips = {"VAEDecode": nodes.VAEDecode().decode(vae, latent)[0]}
    clips["Temporal VAE Decode"] = SVDTemporalVAEDecode.execute(vae, latent, 1).result[0]
    return {name: relative_error(clip, theirs) for name, clip in clips.items()}


def samplers(bench: Bench) -> dict[str, dict[str, float]]:
    conditioning = bench.condition(frames=2)
    return {" ".join(pair): bench.compare(k_sampler(*pair), conditioning) for pair in PAIRS}


def starts(bench: Bench) -> dict[str, dict[str, float]]:
    """Other beginnings: less than the whole noise on an empty clip, two pictures, one frame, guidance that falls."""
    conditioning = bench.condition()
    report = {
        "denoise 0.77": bench.compare(k_sampler(steps=6, denoise=0.77), conditioning),
        "two pictures": bench.compare(k_sampler(), bench.condition(pictures=2)),
        "one frame": bench.compare(k_sampler(), bench.condition(frames=1)),
        "guidance falls": bench.compare(k_sampler(cfg=1.0, min_cfg=3.0), conditioning),
    }
    theirs = k_sampler(steps=6, denoise=0.77)(bench.native[0], conditioning)
    ours = svd_sampler(bench.ours[0], conditioning, 6, 0.77)
    return report | {"denoise 0.77, SVD Sampler": {"error": relative_error(ours, theirs), "nudged": 0.0}}


def custom(model: Any, guider: Any, latent: Any, sampler: Any = None) -> Tensor:
    """SamplerCustomAdvanced."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced

    sampler = sampler or comfy.samplers.sampler_object("euler")
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 3)
    noise = RandomNoise.execute(11).result[0]
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


def guiders(bench: Bench) -> dict[str, dict[str, float]]:
    from comfy_extras import nodes_cfg, nodes_custom_sampler, nodes_model_advanced, nodes_perpneg
    from comfy_extras.nodes_video_model import VideoLinearCFGGuidance

    def perp_neg(model: Any, positive: Any, negative: Any) -> Any:
        return nodes_perpneg.PerpNegGuider.execute(model, positive, negative, negative, 2.5, 1.0)

    def dual(style: str) -> Callable[[Any, Any, Any], Any]:
        return lambda model, positive, negative: nodes_custom_sampler.DualCFGGuider.execute(
            model, positive, positive, negative, 2.5, 1.5, style
        )

    def cfg(model: Any, positive: Any, negative: Any) -> Any:
        return nodes_custom_sampler.CFGGuider.execute(model, positive, negative, 2.5)

    def zero_star(model: Any, *cond: Any) -> Any:
        return cfg(nodes_cfg.CFGZeroStar.execute(model).result[0], *cond)

    def rescaled(model: Any, *cond: Any) -> Any:
        (linear,) = VideoLinearCFGGuidance().patch(model, 1.0)
        return cfg(nodes_model_advanced.RescaleCFG().patch(linear, 0.7)[0], *cond)

    def basic(model: Any, positive: Any, negative: Any) -> Any:
        return nodes_custom_sampler.BasicGuider.execute(model, positive)

    makers = {"PerpNegGuider": perp_neg, "DualCFGGuider": dual("regular"), "DualCFGGuider nested": dual("nested")}
    makers |= {"CFGZeroStar": zero_star, "RescaleCFG": rescaled, "BasicGuider": basic}
    conditioning = bench.condition()
    return {
        name: bench.compare(
            lambda model, given, make=make: custom(model, make(model, *given[:2]).result[0], given[2]), conditioning
        )
        for name, make in makers.items()
    }


def two_clips(bench: Bench) -> dict[str, float]:
    """Guiders that average over what they are given: two clips in one LATENT against each alone."""
    import comfy.samplers
    from comfy_extras.nodes_perpneg import PerpNegGuider
    from pack_as_the_host_loads_it.nodes.clip_encode import SVDCLIPImageEncode
    from pack_as_the_host_loads_it.nodes.vae_conditioning import SVDVAEEncodeConditioning

    model, clip_vision, vae = bench.ours
    noise = torch.randn(8, 4, 8, 8)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 3)

    def sample(pictures: Tensor, noise: Tensor) -> Tensor:
        embeds = SVDCLIPImageEncode.execute(clip_vision, pictures, "squash").result[0]
        settings = (64, 64, "crop", 4, 100, 7, 0.0, 0)
        positive, negative, latent, _ = SVDVAEEncodeConditioning.execute(vae, pictures, embeds, *settings).result
        other = [[0.5 * embeds, options] for embeds, options in positive]
        guider = PerpNegGuider.execute(model, positive, other, negative, 2.5, 1.0).result[0]
        return guider.sample(noise, latent["samples"], comfy.samplers.sampler_object("euler"), sigmas, seed=0)

    alone = [sample(*pair) for pair in zip(bench.pictures.split(1), noise.split(4), strict=True)]
    return {"PerpNegGuider": relative_error(sample(bench.pictures, noise), torch.cat(alone))}


def patches(bench: Bench) -> dict[str, dict[str, float]]:
    """What ControlNeXt adds to input blocks: only where the picture is, and more as the noise goes."""

    def patched(model: Any, after_skip: bool) -> Any:
        def add(h: Tensor, options: dict[str, Any]) -> Tensor:
            if options["block"][1] not in (1, 3) or 0 not in options["cond_or_uncond"]:
                return h
            level = options["sigmas"][0].log() / 7.0
            residual = torch.linspace(-1.0, 1.0, h.shape[-1]) * (1.0 - level)
            mean, std = h.mean(dim=(1, 2, 3), keepdim=True), h.std(dim=(1, 2, 3), keepdim=True)
            return h + 0.2 * (residual * std + mean)

        model = model.clone()
        (model.set_model_input_block_patch_after_skip if after_skip else model.set_model_input_block_patch)(add)
        return model

    conditioning, report = bench.condition(), {}
    plain = k_sampler()(bench.native[0], conditioning)
    for after_skip in (False, True):
        native, ours = (patched(loaded[0], after_skip) for loaded in (bench.native, bench.ours))
        theirs = k_sampler()(native, conditioning)
        clips = {"KSampler": k_sampler()(ours, conditioning)}
        for memory in ("automatic", "smallest"):
            clips[memory] = svd_sampler(ours, conditioning, memory=memory)
        name = "after the skip" if after_skip else "before the skip"
        report[name] = {key: relative_error(clip, theirs) for key, clip in clips.items()}
        assert relative_error(theirs, plain) > 0.01
    return report


def askers(bench: Bench) -> dict[str, Any]:
    """Samplers that ask the model for something else than the clip: what comes of it."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import CFGGuider

    def half(ask: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return ask(x[..., ::2, ::2]).repeat_interleave(2, -1).repeat_interleave(2, -2)

    def each(ask: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.cat([ask(frame) for frame in x.split(1)])

    def three(ask: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.cat([ask(x[:3]), x[3:]])

    def twice(ask: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return ask(torch.cat([x, x]))[: len(x)]

    conditioning = bench.condition()

    def sample(change: Callable[..., Tensor], model: Any) -> Tensor:
        def run(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: bool) -> Tensor:
            for sigma, lower in pairwise(sigmas):
                x0 = change(lambda y, sigma=sigma: model(y, sigma.expand(len(y)), **extra_args), x)
                x = x0 + (x - x0) * lower / sigma
            return x

        guider = CFGGuider.execute(model, *conditioning[:2], 2.5).result[0]
        return custom(model, guider, conditioning[2], comfy.samplers.KSAMPLER(run))

    def outcome(change: Callable[..., Tensor]) -> str:
        try:
            sample(change, bench.ours[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return f"{type(error).__name__}: {error}"
        return "a clip"

    refused = {change.__name__: outcome(change) for change in (half, each, three)}
    doubled = [sample(twice, loaded[0]) for loaded in (bench.ours, bench.native)]
    return refused | {"twice": relative_error(*doubled), "embeds": wrong_embeds(bench)}


def wrong_embeds(bench: Bench) -> dict[str, str]:
    """Embeddings of another encoder, in KSampler on our MODEL and in SVD Sampler on the native one."""
    positive, negative, latent = bench.condition()
    other = [[torch.zeros(1, 1, 99), options] for _, options in positive]
    outcomes = {}
    for name, sample, model in (
        ("KSampler", k_sampler(), bench.ours[0]),
        ("SVD Sampler", svd_sampler, bench.native[0]),
    ):
        try:
            sample(model, (other, negative, latent))
        except Exception as error:  # noqa: BLE001 - as above
            outcomes[name] = f"{type(error).__name__}: {error}"
    return outcomes


def device(bench: Bench) -> dict[str, Any]:
    """A host that keeps its latents elsewhere than where it computes: where they lie, and what our nodes take."""
    from unittest import mock

    import comfy.model_management
    from pack_as_the_host_loads_it.nodes.host.on_device import take_latents
    from pack_as_the_host_loads_it.nodes.latent_correction import SVDLatentCorrection

    conditioning = bench.condition()
    plain = svd_sampler(bench.ours[0], conditioning, 1)
    with mock.patch.object(comfy.model_management, "intermediate_device", lambda: torch.device("meta")):
        latent = svd_latent(bench.ours[0], conditioning, 1)
        corrected = SVDLatentCorrection.execute(latent, False, 1.0).result[0]
    return {
        "samples": latent["samples"].device.type,
        "taken": relative_error(take_latents(latent), plain),
        "corrected": relative_error(take_latents(corrected), plain),
        "changed": take_latents({**latent, "samples": plain + 1.0}).sub(plain).mean().item(),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
