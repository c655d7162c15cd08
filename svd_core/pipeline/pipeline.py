"""A picture in, a short video out: the stages in order, for use from Python.

The nodes drive the same stage functions through their host instead of this class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints import Checkpoint, extend, open_checkpoint
from ..checkpoints.lora import LoRA, LoRAStack, read_lora
from ..checkpoints.releases import Release
from ..config import ModelConfig
from ..diffusion import conditioning, edm, guidance, noise
from ..diffusion.conditioning import MicroConditioning
from ..diffusion.latents import check_latents, correct_latents
from ..diffusion.samplers import StepInfo, choose_sampler
from ..diffusion.speed import MODES, speed_mode
from ..diffusion.step_cache import StepCache
from ..errors import SVDError, choose
from ..images import colours, pictures
from ..images.encoder_pixels import EncoderFitMode, to_encoder_pixels
from ..memory.decode.plan import DecodeCall
from ..memory.decode.planner import decode_in_free_memory, plan_decode
from ..memory.device import MemoryChoice, free_memory, room_to_spill, says_out_of_memory
from ..memory.sampling import SamplingMemory
from ..models.autoencoder import Autoencoder
from ..models.finite import check_finite
from ..models.image_encoder import ClipVision
from ..models.unet.unet import VideoUNet
from .clip import OUTPUTS, Clip, Output, to_levels
from .denoise import Conditioning, GuidedDenoiser
from .given_frames import GivenFrames
from .loading import choose_device, choose_dtype, load_networks
from .resolve import frame_scales, micro_conditioning, noise_levels, resolve_settings
from .settings import CallArguments, ClipSettings, ResolvedSettings, RunOptions, read_numbers, take_fields
from .stages import augment_picture, latent_shape

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11


class SVDPipeline:
    """The three networks of a checkpoint and the stages that use them.

    Sampler state, noise levels and guidance are fp32, and all noise is drawn on the CPU: the same seed gives the same
    clip on every device, up to the rounding of the networks.
    """

    def __init__(
        self,
        unet: VideoUNet,
        vae: Autoencoder,
        image_encoder: ClipVision,
        device: torch.device,
        dtype: torch.dtype,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """dtype: of the UNet, the image encoder and the decode; the VAE always encodes in fp32."""
        self.unet: VideoUNet = unet.eval()
        self.vae: Autoencoder = vae.eval()
        self.image_encoder: ClipVision = image_encoder.eval()
        self.device: torch.device = device
        self.dtype: torch.dtype = dtype
        self.release: Release | None = checkpoint.release if checkpoint else None
        self.trained_frames: int | None = checkpoint.num_frames if checkpoint else None
        self.config: ModelConfig = ModelConfig(unet.config, vae.config, image_encoder.config)
        self.frame_scale: float = vae.config.scale_factor  # of given frames; DiffSynth has another, see `diffsynth.py`
        self._loras = LoRAStack(unet)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | Checkpoint,
        companion: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        weight_dtype: torch.dtype | None = None,
        extension: str | Path | None = None,
    ) -> SVDPipeline:
        """Load a single safetensors file or a diffusers folder.

        path: the file or folder, or a checkpoint that `open_checkpoint` has opened. companion: a second checkpoint for
        what the first lacks, such as VAE and CLIP beside a lone UNet. device: "cuda", "mps" or "cpu", by default the
        first of these that works. dtype: by default fp16 on CUDA, else fp32. weight_dtype: of the UNet's stored
        matrices, by default dtype; torch.float8_e4m3fn halves the memory of fp16, and its rounding shows. extension: an
        ExVideo file, for clips of up to 128 frames. Raises SVDError for a file that cannot be used.
        """
        checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path, companion)
        checkpoint.require("unet", "vae", "clip")
        if extension is not None:
            checkpoint = extend(checkpoint, extension)
        device = torch.device(device or choose_device())
        dtype = dtype or choose_dtype(device)
        networks = load_networks(checkpoint, device, dtype, weight_dtype)
        return cls(networks.unet, networks.vae, networks.image_encoder, device, dtype, checkpoint)

    @overload
    def __call__(self, picture: Any, *, output: Literal["pil"] = "pil", **arguments: Unpack[CallArguments]) -> Clip: ...
    @overload
    def __call__(self, picture: Any, *, output: Literal["array"], **arguments: Unpack[CallArguments]) -> np.ndarray: ...
    @overload
    def __call__(
        self, picture: Any, *, output: Literal["tensor", "latent"], **arguments: Unpack[CallArguments]
    ) -> Tensor: ...
    @says_out_of_memory("The clip")
    @torch.inference_mode()
    def __call__(
        self, picture: Any, *, output: Output = "pil", **arguments: Unpack[CallArguments]
    ) -> Clip | np.ndarray | Tensor:
        """Animate a picture: a PIL image, an array or a tensor, see `pictures.to_image_tensor`.

        arguments: the fields of ClipSettings, of GivenFrames (a video to start from, frames to hold) and of RunOptions
        (seed, memory, progress), which docs/python.md lists. With `settings=ClipSettings(...)`, those given apart from
        it take precedence.

        output: "pil" for a Clip, which is a sequence of PIL images that knows its fps and can save itself; "array" for
        uint8 and "tensor" for fp32 in [0, 1], both t H W 3; "latent" for what `decode` takes, t 4 h w in diffusion
        space. Raises SVDError for input that cannot be animated.
        """
        choose("output", output, OUTPUTS)
        changes: dict[str, Any] = dict(arguments)
        given, run = take_fields(GivenFrames, changes), read_numbers(take_fields(RunOptions, changes))
        pixels = pictures.to_image_tensor(picture)
        if len(pixels) != 1:
            raise SVDError(f"The pipeline animates one picture and got {len(pixels)}; use its animate_all for several.")
        settings = self.resolve(**changes)
        given.check(settings)
        denoiser = self._plan(settings, run, decodes=output != "latent")
        fitted = pictures.fit(pixels, settings.width, settings.height, settings.fit)
        seed = run.seed if run.generator is None else noise.draw_seed(run.generator)
        latents = self._sample(denoiser, pixels, fitted, settings, given, run, seed)
        if output == "latent":
            return latents
        frames = self.decode(latents, run.frames_at_once)
        frames = colours.match_colours(frames, fitted[0].movedim(0, -1), settings.colour_match)
        if output == "tensor":
            return frames
        levels = to_levels(frames)
        return levels if output == "array" else Clip(levels, settings.fps, seed, settings)

    def animate_all(
        self, pictures: Iterable[Any], *, output: Output = "pil", **arguments: Unpack[CallArguments]
    ) -> list[Any]:
        """Animate several pictures, in order; each gives what a call gives for it alone, with the seed + its index.

        pictures: of any sizes; the same one several times gives clips to choose from. Everything else is as in a call.
        """
        calls: dict[str, Any] = {"output": output, **arguments}
        first_seed = calls.pop("seed", 0)
        return [
            self(picture, seed=noise.seed_of_clip(first_seed, index), **calls) for index, picture in enumerate(pictures)
        ]

    def resolve(self, settings: ClipSettings | None = None, **changes: Any) -> ResolvedSettings:
        """The settings that a call would use. Raises SVDError for settings that make no clip of this checkpoint."""
        changed = replace(settings or ClipSettings(), **changes)
        return resolve_settings(changed, self.config, self.release, self.trained_frames)

    def _plan(self, settings: ResolvedSettings, run: RunOptions, decodes: bool) -> GuidedDenoiser:
        """The denoiser of a run. Raises SVDError, before any work, for a clip too large to sample or to decode."""
        branches, shape = 1 + guidance.needs_uncond(frame_scales(settings)), latent_shape(settings, self.vae.config)
        cache = StepCache(speed_mode(settings.speed), branches)
        denoiser = GuidedDenoiser(self.unet, self.dtype, self.sampling_memory(run.memory), cache)
        denoiser.check_fits(shape, branches)
        if decodes:
            call = DecodeCall.of_shape(self.vae.config, shape, self.dtype, self.device)
            plan_decode(call, free_memory(self.device), room_to_spill(self.device), run.frames_at_once)
        return denoiser

    def _sample(
        self,
        denoiser: GuidedDenoiser,
        pixels: Tensor,
        fitted: Tensor,
        settings: ResolvedSettings,
        given: GivenFrames,
        run: RunOptions,
        seed: int,
    ) -> Tensor:
        """The clip's latents in diffusion space, t 4 h w.

        pixels, fitted: the whole picture, for the image encoder, and at the size of the video; 1 3 H W in [0, 1].
        """
        sigmas, scale = noise_levels(settings), frame_scales(settings)
        mode, shape = denoiser.cache.mode, latent_shape(settings, self.vae.config)
        micro = micro_conditioning(settings)
        cond = Conditioning(
            self.encode_image(pixels),
            self.encode_picture(fitted, micro, seed, run.augmentation_noise),
            conditioning.vector(micro).to(self.device),
        )
        eps = noise.draw_noise(shape, seed) if run.latent_noise is None else run.latent_noise
        start, held = given.encode(self.encode_frame, settings)
        x = edm.scale_initial_noise(eps.to(self.device), sigmas[0], start)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return denoiser.denoise(x, sigma, cond, mode.scale_at(sigma, scale))

        with tqdm(total=len(sigmas) - 1, desc="sampling", disable=not run.progress) as bar, denoiser.cache:

            def report(step: StepInfo) -> None:
                if step.index == 0:  # damaged weights show at once
                    self._check_clip(step.denoised)
                bar.update(1)
                if run.callback is not None:
                    run.callback(step)

            denoise_held = held.denoiser(denoise, eps) if held else denoise
            sample = choose_sampler(settings.sampler)
            latents = sample(denoise_held, x, sigmas, generator=noise.step_generator(seed), callback=report)
        latents = correct_latents(latents, settings.post_normalize, settings.contrast_enhance_scale)
        self._check_clip(latents)
        return latents

    def _check_clip(self, latents: Tensor) -> None:
        check_finite(latents, "The latents of the clip", self.unet, "UNet", self.dtype, bool(self._loras))

    def load_lora(self, path: str | Path | LoRA, strength: float = 1.0) -> LoRA:
        """Merge a LoRA into the UNet's weights; several add up.

        path: a .safetensors file with the names of peft, diffusers, kohya or Stability, or what `read_lora` has read.
        strength: 1 is the full effect, a negative one the opposite. Returns what was read; how much of it matched is
        logged. Raises SVDError for a file that does not fit the UNet.
        """
        lora = path if isinstance(path, LoRA) else read_lora(path, self._loras.shapes)
        self._loras.add(lora, strength)
        return lora

    def unload_lora(self) -> None:
        """Remove all LoRAs; the weights are bit for bit what they were before."""
        self._loras.clear()

    def encode_image(self, pixels: Tensor, fit: EncoderFitMode = "squash") -> Tensor:
        """CLIP's projected embedding of a picture as one token, 1 1 d. pixels: 1 3 h w in [0, 1]."""
        size = self.image_encoder.config.image_size
        prepared = to_encoder_pixels(pixels, size, fit).to(self.device, self.dtype)
        embeds = self.image_encoder(prepared).image_embeds
        check_finite(embeds, "The image encoder's numbers", self.image_encoder, "image encoder", self.dtype)
        return embeds[:, None]

    def encode_picture(
        self, pixels: Tensor, micro: MicroConditioning, seed: int = 0, augmentation_noise: Tensor | None = None
    ) -> Tensor:
        """The latent of the noise-augmented picture, 1 4 h w, unscaled. pixels: 1 3 8h 8w in [0, 1]."""
        noisy = augment_picture(pixels, micro.noise_aug_strength, seed, augmentation_noise)
        return self._encode(noisy)

    def encode_frame(self, pixels: Tensor) -> Tensor:
        """The latent of a frame of a clip, 1 4 h w, scaled to diffusion space. pixels: 1 3 8h 8w in [0, 1]."""
        return self.frame_scale * self._encode(2.0 * pixels - 1.0)

    def _encode(self, pixels: Tensor) -> Tensor:
        """pixels: 1 3 8h 8w in about [-1, 1]. Returns 1 4 h w, unscaled."""
        latent = self.vae.encode(pixels.to(self.device, torch.float32))
        check_finite(latent, "The latents of a picture", self.vae.encoder, "VAE", torch.float32)
        return latent

    def sampling_memory(self, choice: MemoryChoice = "automatic") -> SamplingMemory:
        """The plan that fits the UNet's evaluations in one run to the free memory of the device; for `denoise`."""
        return SamplingMemory(choice, lambda: free_memory(self.device))

    def denoise(
        self,
        x: Tensor,
        sigma: Tensor,
        cond: Conditioning,
        scale: Tensor,
        memory: SamplingMemory | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """The guided x0 of every frame, t 4 h w; one evaluation for a sampler.

        x: t 4 h w, fp32; sigma: 0-d; scale: guidance of every frame, t. memory, cache: of the run that the evaluation
        belongs to, by default one of its own.
        """
        memory, cache = memory or self.sampling_memory(), cache or StepCache(MODES["exact"])
        return GuidedDenoiser(self.unet, self.dtype, memory, cache).denoise(x, sigma, cond, scale)

    @says_out_of_memory("The decode")
    def decode(self, latents: Tensor, frames_at_once: int = 0) -> Tensor:
        """The frames of latents in diffusion space, t 4 h w: t 8h 8w 3 in [0, 1], fp32, on the CPU.

        frames_at_once: frames decoded together, 0 to let the free memory decide; the frames are the same. A 16-bit
        decode that overflows is repeated in fp32, which is logged. Raises SVDError for latents of another model family.
        """
        check_latents(latents, self.vae.config.latent_channels)
        z = latents.float() / self.vae.config.scale_factor
        frames = decode_in_free_memory(
            self.vae, z, self.dtype, frames_at_once, device=self.device, in_dtype=self.vae.decoding_in
        )
        return (frames.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1).cpu()
