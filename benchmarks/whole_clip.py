"""A picture to frames with each implementation's own pipeline, networks shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from svd_core import SVDPipeline
from svd_core.checkpoints.convert.diffusers_json import SCHEDULER, preprocessor_json
from svd_core.diffusion import edm, guidance, noise, schedules
from svd_core.diffusion.conditioning import augment
from svd_core.diffusion.samplers import sample_euler
from svd_core.images import pictures
from svd_core.images.encoder_pixels import to_encoder_pixels
from tools.comfyui import REPOSITORY

from .cases import MICRO, Case, UNetInputs, micro_rows
from .implementations import COMPILED, NATIVE, OURS, Part

PICTURE = REPOSITORY / "example_workflows" / "svd_demo_comet.png"
STEPS = 25
SCALES = (1.0, 2.5)


class WholeClip:
    """25 Euler steps with guidance rising over the frames; every run gives (t h w 3) in [0, 1]."""

    def __init__(self, case: Case, parts: dict[str, Part], device: torch.device, dtype: torch.dtype) -> None:
        self.case, self.parts, self.device, self.dtype = case, parts, device, dtype
        self.size = (8 * case.width, 8 * case.height)
        self.picture = Image.open(PICTURE).convert("RGB").resize(self.size)
        self.noise = noise.draw_noise((case.num_frames, 4, case.height, case.width), seed=0)
        self.augmentation = torch.randn(1, 3, *self.size[::-1], generator=torch.Generator().manual_seed(0))

    def run_of(self, who: str) -> Callable[[], Tensor]:
        if who == OURS:
            return self._ours()
        return self._native() if who == NATIVE else self._diffusers(compiled=who == COMPILED)

    def _ours(self) -> Callable[[], Tensor]:
        networks = (self.parts[part].ours for part in ("unet", "vae", "clip"))
        pipe = SVDPipeline(*networks, self.device, self.dtype)
        pipe.vae.convert_decoder(self.dtype)
        settings: dict[str, Any] = {
            "min_cfg_scale": SCALES[0],
            "max_cfg_scale": SCALES[1],
            "latent_noise": self.noise,
            "augmentation_noise": self.augmentation,
            "output": "tensor",
            "progress": False,
        }
        width, height = self.size
        frames = self.case.num_frames
        return lambda: pipe(self.picture, width=width, height=height, num_frames=frames, **settings)

    def _diffusers(self, compiled: bool) -> Callable[[], Tensor]:
        from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
        from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as module
        from transformers import CLIPImageProcessor

        unet, vae, clip = (self.parts[part].diffusers() for part in ("unet", "vae", "clip"))
        processor = CLIPImageProcessor(**preprocessor_json(self.case.config))
        scheduler = EulerDiscreteScheduler.from_config(SCHEDULER)
        pipe = StableVideoDiffusionPipeline(vae, clip, torch.compile(unet) if compiled else unet, scheduler, processor)
        pipe.set_progress_bar_config(disable=True)
        resize, side = module._resize_with_antialiasing, clip.config.image_size  # it fixes 224 pixels
        width, height = self.size

        def run() -> Tensor:
            with patch.object(module, "_resize_with_antialiasing", lambda x, _: resize(x, (side, side))):
                frames = pipe(
                    self.picture,
                    height,
                    width,
                    num_frames=self.case.num_frames,
                    num_inference_steps=STEPS,
                    min_guidance_scale=SCALES[0],
                    max_guidance_scale=SCALES[1],
                    decode_chunk_size=self.case.num_frames,
                    latents=self.noise[None].to(self.device, self.dtype),
                    generator=torch.Generator().manual_seed(0),  # draws `augmentation`
                    output_type="np",
                ).frames[0]
            return torch.from_numpy(np.asarray(frames))

        return run

    def _native(self) -> Callable[[], Tensor]:
        """ComfyUI's networks in a loop like its own: both guidance branches in one batch."""
        stages = [self.parts[part].stages(NATIVE) for part in ("unet", "vae", "clip")]
        unet, encode, decode, clip = (stage for each in stages for stage in each.values())
        config = self.case.config
        assert config.clip is not None and config.vae is not None
        side, scale_factor = config.clip.image_size, config.vae.scale_factor
        numbers, y = micro_rows(2)
        sigmas = schedules.karras_sigmas(STEPS)
        scale = guidance.guidance_scale("linear", *SCALES, self.case.num_frames)

        def run() -> Tensor:
            pixels = pictures.to_image_tensor(self.picture)
            embeds = clip(to_encoder_pixels(pixels, side, "squash").to(self.device, self.dtype))[:, None]
            noisy = augment(2 * pixels - 1, MICRO.noise_aug_strength, self.augmentation)
            latent = encode(noisy.to(self.device, self.dtype))[:, None].expand(-1, self.case.num_frames, -1, -1, -1)
            context = torch.cat([torch.zeros_like(embeds), embeds])
            concat = torch.cat([torch.zeros_like(latent), latent])

            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                c = edm.scalings(sigma)
                inputs = torch.cat([(c.c_in * x).to(latent.dtype).expand_as(concat), concat], dim=2)
                c_noise = c.c_noise.to(x.device).expand(2)
                v = unet(UNetInputs(inputs, c_noise, context, numbers.to(x.device), y.to(x.device)))
                return edm.denoised(guidance.guide(*v.chunk(2), scale), x, sigma)

            start = edm.scale_initial_noise(self.noise.to(self.device), sigmas[0])
            frames = decode((sample_euler(denoise, start, sigmas) / scale_factor).to(self.dtype))
            return (frames.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1).cpu()

        return run
