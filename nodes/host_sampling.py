"""The host's sampling path, run with our guidance, noise levels and samplers."""

from __future__ import annotations

import logging
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..svd_core import guidance, noise
from ..svd_core.errors import needing
from ..svd_core.preview import contact_sheet
from ..svd_core.samplers import SAMPLERS, StepInfo
from .host import ProgressBar, model_management
from .host_memory import MEMORY, host_memory

logger = logging.getLogger(__name__)


class PerFrameGuider(comfy.samplers.CFGGuider):
    """The host's guider with a guidance scale for every frame, and a memory choice."""

    def set_scale(self, scale: Tensor) -> None:
        """scale: t."""
        self.scale = scale
        self.set_cfg(float(scale.max()))

    def set_memory(self, choice: str) -> None:
        self.memory = host_memory(choice, self.model_patcher.load_device)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided x0, t 4 h w. The unconditional branch is left out only where no frame needs it."""
        options = dict(model_options or {})
        options["sampler_cfg_function"] = self._guide
        options["transformer_options"] = {**options.get("transformer_options", {}), MEMORY: self.memory}
        if guidance.needs_uncond(self.scale):
            options["disable_cfg1_optimization"] = True
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds.get("positive"),
            self.cfg,
            model_options=options,
            seed=seed,
        )

    def _guide(self, args: dict[str, Any]) -> Tensor:
        """The host hands out and takes x - x0, in which guidance is the same algebra."""
        if not guidance.needs_uncond(self.scale):
            return args["cond"]
        return guidance.guide(args["uncond"], args["cond"], self.scale)


def host_sampler(name: str, generator: torch.Generator) -> Any:
    """One of our samplers behind the interface that the host's guiders call."""
    sample = SAMPLERS[name]

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


def sample_clip(
    model: Any,
    positive: Any,
    negative: Any,
    latent: dict[str, Any],
    seed: int,
    sampler: str,
    sigmas: Tensor,
    scale: Tensor,
    memory: str,
) -> Tensor:
    """Sample one clip, and return it on the compute device, t 4 h w.

    latent["samples"]: t 4 h w, unscaled; scale: t; memory: one of MEMORY_CHOICES.
    """
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    initial = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    guider = PerFrameGuider(model)
    guider.set_conds(positive, negative)
    guider.set_scale(scale)
    guider.set_memory(memory)
    if "sampler_cfg_function" in model.model_options:
        logger.warning("SVD Sampler uses its own guidance; the guidance node before it has no effect.")
    return guider.sample(
        initial,
        samples,
        host_sampler(sampler, noise.step_generator(seed)),
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=_preview_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def _preview_callback(model: Any, steps: int) -> Any:
    """Progress with a picture of all frames, or with the host's own preview where the user has chosen one."""
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    if previewer is not None:
        return latent_preview.prepare_callback(model, steps)
    bar, latents = ProgressBar(steps), model.model.latent_format

    def callback(step: int, x0: Tensor, x: Tensor, total_steps: int) -> None:
        sheet = contact_sheet(x0, latents.latent_rgb_factors, latents.latent_rgb_factors_bias)
        bar.update_absolute(step + 1, total_steps, ("JPEG", sheet, latent_preview.MAX_PREVIEW_RESOLUTION))

    return callback
