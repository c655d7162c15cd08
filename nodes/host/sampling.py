"""The host's sampling path, run with our guidance, noise levels and samplers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...svd_core.diffusion import guidance, noise
from ...svd_core.diffusion.samplers import StepInfo, choose_sampler
from ...svd_core.diffusion.speed import SpeedMode
from ...svd_core.diffusion.step_cache import StepCache
from ...svd_core.errors import needing
from .finite import check_sampled
from .folders import model_management
from .latents import ClipRun, check_embeds
from .memory import RunState, make_memory
from .preview import Preview

logger = logging.getLogger(__name__)


class PerFrameGuider(comfy.samplers.CFGGuider):
    """The host's guider with a guidance scale for every frame, a memory choice and a step cache."""

    def __init__(self, model: Any, positive: Any, negative: Any, scale: Tensor, mode: SpeedMode, memory: str) -> None:
        """scale: t, the guidance of each frame."""
        super().__init__(model)
        for embeds, _ in (*positive, *negative):
            check_embeds(embeds, model.model.model_config)
        self.set_conds(positive, negative)
        self.set_cfg(float(scale.max()))
        self.scale = scale
        cache = StepCache(mode, 2 if guidance.needs_uncond(scale) else 1)
        self.state = RunState(make_memory(memory, self.model_patcher.load_device), cache)

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
        **_: Any,
    ) -> Tensor:
        """The guided x0, t 4 h w. The unconditional branch is left out where no frame needs it."""
        options = dict(model_options or {})
        scale = self.state.cache.mode.scale_at(timestep.max(), self.scale)
        options["sampler_cfg_function"] = partial(_guide, scale)
        guided = guidance.needs_uncond(scale)
        options["transformer_options"] = self.state.add_to(options.get("transformer_options", {}), guided)
        if guided:
            options["disable_cfg1_optimization"] = True
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds.get("positive"),
            float(scale.max()),
            model_options=options,
            seed=seed,
        )


def _guide(scale: Tensor, args: dict[str, Any]) -> Tensor:
    """Guidance function of the host, which hands out and takes x - x0; there guidance is the same algebra. scale: t."""
    if not guidance.needs_uncond(scale):
        return args["cond"]
    return guidance.guide(args["uncond"], args["cond"], scale)


def make_sampler(name: str, generator: torch.Generator) -> Any:
    """One of our samplers behind the interface that the host's guiders call."""
    sample = choose_sampler(name)

    def run(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback: Any = None, disable: bool = False
    ) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return model(x, sigma.to(x).expand(len(x)), **extra_args)

        with needing("tqdm", "Sampling"):
            from tqdm import tqdm
        with tqdm(total=len(sigmas) - 1, disable=disable) as bar:

            def report(step: StepInfo) -> None:
                model_management.throw_exception_if_processing_interrupted()
                bar.update(1)
                if callback is not None:
                    callback({"i": step.index, "sigma": step.sigma, "x": step.x, "denoised": step.denoised})

            return sample(denoise, x, sigmas, generator=generator, callback=report)

    return comfy.samplers.KSAMPLER(run)


@dataclass(frozen=True)
class Sampling:
    """Settings that all clips of a run share."""

    sampler: str
    sigmas: Tensor  # [steps + 1]
    scale: Tensor  # guidance of each frame, t
    memory: str
    mode: SpeedMode


def sample_clips(model: Any, runs: Sequence[ClipRun], sampling: Sampling) -> list[Tensor]:
    """Sample clips one after the other, under one progress bar.

    The latents of the runs: t 4 h w, unscaled. Returns the clips on the compute device, t 4 h w each.
    Raises SVDError for a clip that is not finite.
    """
    if "sampler_cfg_function" in model.model_options:
        logger.warning("SVD Sampler uses its own guidance; the guidance node before it has no effect.")
    steps = len(sampling.sigmas) - 1
    preview = Preview(model, len(runs) * steps)
    sampled = []
    for index, run in enumerate(runs):
        if len(runs) > 1:
            logger.info("SVD Sampler: clip %d of %d, seed %d", index + 1, len(runs), run.seed)
        callback = partial(preview.show, done=index * steps)
        sampled.append(_sample_clip(model, run, sampling, callback))
    return sampled


def _sample_clip(model: Any, run: ClipRun, sampling: Sampling, callback: Any) -> Tensor:
    samples = comfy.sample.fix_empty_latent_channels(model, run.latent["samples"])
    initial = comfy.sample.prepare_noise(samples, run.seed, run.latent.get("batch_index"))
    guider = PerFrameGuider(model, run.positive, run.negative, sampling.scale, sampling.mode, sampling.memory)

    def report(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        if step == 0:  # damaged weights show at once
            check_sampled(model, denoised)
        callback(step, denoised, x, total)

    with guider.state.cache:
        latents = guider.sample(
            initial,
            samples,
            make_sampler(sampling.sampler, noise.step_generator(run.seed)),
            sampling.sigmas,
            denoise_mask=run.latent.get("noise_mask"),
            callback=report,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=run.seed,
        )
    check_sampled(model, latents)  # the host's own MODEL does not do it
    return latents
