"""A picture in, a short video out: the stages in order, for use from Python.

The nodes drive the same stage functions through their host instead of this class.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import Checkpoint, extend, open_checkpoint
from ..checkpoints.lora import LoRA, LoRAStack, read_lora
from ..checkpoints.releases import UNKNOWN, Release, advise
from ..checks import check_latents, check_num_frames, check_positions
from ..config import ModelConfig
from ..diffusion import conditioning, edm, guidance, noise, schedules
from ..diffusion.conditioning import MicroConditioning
from ..diffusion.samplers import Callback, choose_sampler
from ..diffusion.speed import MODES, Speed, speed_mode
from ..diffusion.step_cache import StepCache
from ..errors import SVDError
from ..images import colours, pictures
from ..memory.decode.clip import decode_in_free_memory
from ..memory.device import free_memory
from ..memory.sampling_memory import SamplingMemory
from ..memory.sampling_plan import MemoryChoice
from ..models.autoencoder import Autoencoder
from ..models.image_encoder import ClipVision
from ..models.unet.unet import VideoUNet
from .denoise import Conditioning, GuidedDenoiser
from .given_frames import GivenFrames
from .loading import best_device, default_dtype, load_networks
from .output import Output, as_output
from .progress import progress_bar
from .stages import augment_picture

logger = logging.getLogger(__name__)


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
        """`dtype` is that of the UNet and of the decode; encoding a picture is always fp32."""
        self.unet: VideoUNet = unet.eval()
        self.vae: Autoencoder = vae.eval()
        self.image_encoder: ClipVision = image_encoder.eval()
        self.device: torch.device = device
        self.dtype: torch.dtype = dtype
        self.release: Release | None = checkpoint.release if checkpoint else None
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
        device = torch.device(device or best_device())
        dtype = dtype or default_dtype(device)
        networks = load_networks(checkpoint, device, dtype, weight_dtype)
        return cls(networks.unet, networks.vae, networks.image_encoder, device, dtype, checkpoint)

    @torch.inference_mode()
    def __call__(
        self,
        picture: Any,
        width: int | None = None,
        height: int | None = None,
        num_frames: int | None = None,
        fps: float = 7,
        motion_bucket_id: float = 127,
        noise_aug_strength: float = 0.02,
        num_inference_steps: int = 25,
        min_cfg_scale: float = 1.0,
        max_cfg_scale: float | None = None,
        seed: int = 0,
        *,
        fit: pictures.FitMode = "crop",
        guidance_kind: str = "linear",
        sampler: str = "euler",
        schedule: str = "karras",
        memory: MemoryChoice = "automatic",
        frames_at_once: int = 0,
        speed: Speed = "exact",
        input_video: Any = None,
        denoising_strength: float = 1.0,
        denoising_steps: schedules.Shortening = "all steps",
        mask_frames: Any = (),
        mask_frame_ids: Sequence[int] = (),
        masks: Any = None,
        post_normalize: bool = False,
        contrast_enhance_scale: float = 1.0,
        colour_match: float = 0.0,
        output: Output = "pil",
        progress: bool = True,
        callback: Callback | None = None,
        generator: torch.Generator | None = None,
        latent_noise: Tensor | None = None,
        augmentation_noise: Tensor | None = None,
    ) -> Any:
        """Animate a picture (PIL image, array or tensor; see `image.to_image_tensor`).

        Left out, width, height, num_frames and max_cfg_scale are what the checkpoint was made for; 1024x576, 25 frames
        and 3.0 where its name does not tell.

        width, height: of the video, in pixels; fitted to a multiple the model takes, with a warning. fps: frames per
        second that the motion is made for. motion_bucket_id: amount of motion, 0 to 255. noise_aug_strength: noise
        added to the picture, 0 to 1; more noise, more freedom. The guidance rises from min_cfg_scale at the first
        frame to max_cfg_scale at the last. generator: draws the seed, in place of `seed`. latent_noise (t 4 h w) and
        augmentation_noise (1 3 H W) replace the noise of the seed. memory bounds that of the sampling, frames_at_once
        that of the decode (0 is automatic); neither changes the result. "automatic" splits the work only where it would
        not fit, "smallest" always, "fastest" never.

        speed: "balanced" and "fastest" leave work out, which changes the clip; see `speed.py` for what, and the README
        for how much.

        Video to video: below a denoising_strength of 1 the clip starts from the frames of input_video with noise, at
        the level that `schedules.sigmas` tells; denoising_steps is its `shortening`. Held frames: mask_frames are
        pictures that stay in the frames mask_frame_ids (negative ones count from the end), or what of them masks
        (h w, or a list with one for each; 1 is held) leave. All are fitted to the video's size as the picture is; a
        mask of the video's shape stays as it is.
        post_normalize gives all frames the mean and deviation of the clip's latents, contrast_enhance_scale multiplies
        these, colour_match (0 to 1) brings every frame to the picture's colours; see `correction.py`.

        Returns the frames: PIL images, or one uint8 array (t H W 3), or one float tensor (t H W 3) in [0, 1]; or, for
        "latent", what `decode` takes (t 4 h w).
        Raises SVDError for input that cannot be animated.
        """
        pixels = pictures.to_image_tensor(picture)
        if len(pixels) != 1:
            raise SVDError(f"The pipeline animates one picture and got {len(pixels)}; use its animate_all for several.")
        seed = seed if generator is None else noise.drawn_seed(generator)
        made_for = self.release or UNKNOWN
        positions = self.unet.config.num_positions
        num_frames = (positions or made_for.num_frames) if num_frames is None else num_frames
        max_cfg_scale = made_for.max_cfg_scale if max_cfg_scale is None else max_cfg_scale
        width = made_for.width if width is None else width
        height = made_for.height if height is None else height
        check_num_frames(num_frames)
        check_positions(num_frames, positions)
        given = GivenFrames(input_video, denoising_strength, mask_frames, mask_frame_ids, masks)
        given.check(num_frames)
        colours.check_settings(contrast_enhance_scale, colour_match)
        width, height = pictures.fit_size(width, height, self.config.pixel_multiple)
        for advice in advise(
            self.release,
            num_frames=num_frames,
            fps=fps,
            motion_bucket_id=motion_bucket_id,
            width=width,
            height=height,
        ):
            logger.warning(advice)

        micro = MicroConditioning(fps, motion_bucket_id, noise_aug_strength)
        scale = guidance.guidance_scale(guidance_kind, min_cfg_scale, max_cfg_scale, num_frames)
        sigmas = schedules.sigmas(schedule, num_inference_steps, denoising_strength, shortening=denoising_steps)
        solver = choose_sampler(sampler)
        mode = speed_mode(speed)
        downscale = self.vae.config.downscale
        splits = self.sampling_memory(memory)
        branches = 2 if guidance.needs_uncond(scale) else 1
        cache = StepCache(mode, branches)
        latent_shape = (num_frames, 4, height // downscale, width // downscale)
        GuidedDenoiser(self.unet, self.dtype, splits, cache).check_fits(latent_shape, branches)

        fitted = pictures.fit(pixels, width, height, fit)
        cond = Conditioning(
            self.encode_image(pixels),
            self.encode_picture(fitted, micro, seed, augmentation_noise),
            conditioning.vector(micro).to(self.device),
        )
        if latent_noise is None:
            latent_noise = noise.seeded_noise((num_frames, *cond.latent.shape[1:]), seed)
        start, held = given.encode(self.encode_frame, num_frames, width, height, fit)
        x = edm.scale_initial_noise(latent_noise.to(self.device), sigmas[0], start)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return self.denoise(x, sigma, cond, mode.scale_at(sigma, scale), splits, cache)

        with progress_bar("sampling", num_inference_steps, callback, progress) as report, cache:
            latents = solver(
                held.denoiser(denoise, latent_noise) if held else denoise,
                x,
                sigmas,
                generator=noise.step_generator(seed),
                callback=report,
            )
        latents = colours.correct_latents(latents, post_normalize, contrast_enhance_scale)
        if output == "latent":
            return latents
        frames = self.decode(latents, frames_at_once)
        return as_output(colours.match_colours(frames, fitted[0].movedim(0, -1), colour_match), output)

    def animate_all(self, pictures: Iterable[Any], seed: int = 0, **settings: Any) -> list[Any]:
        """A clip of each picture, in order: what calling the pipeline gives for it alone, with `seed` + its index.

        pictures: of any sizes; the same one several times gives clips to choose from. settings: those of a call.
        Raises SVDError for input that cannot be animated.
        """
        return [
            self(picture, seed=noise.seed_of_clip(seed, index), **settings) for index, picture in enumerate(pictures)
        ]

    def load_lora(self, path: str | Path, strength: float = 1.0) -> LoRA:
        """Merge a LoRA into the UNet's weights; several add up.

        path: a .safetensors file with the names of peft, diffusers, kohya or Stability. strength: 1 is the full
        effect, a negative one the opposite. Returns what was read; how much of it matched is logged.
        Raises SVDError for a file that does not fit the UNet.
        """
        lora = read_lora(path, self._loras.shapes)
        self._loras.add(lora, strength)
        return lora

    def unload_lora(self) -> None:
        """Take all LoRAs off again; the weights are bit for bit what they were."""
        self._loras.clear()

    def encode_image(self, pixels: Tensor, fit: pictures.ClipFitMode = "squash") -> Tensor:
        """pixels: 1 3 h w in [0, 1]. Returns the projected CLIP embedding as one token, 1 1 d."""
        size = self.image_encoder.config.image_size
        prepared = pictures.clip_pixels(pixels, size, fit).to(self.device, self.dtype)
        return self.image_encoder(prepared).image_embeds[:, None]

    def encode_picture(
        self, pixels: Tensor, micro: MicroConditioning, seed: int = 0, augmentation_noise: Tensor | None = None
    ) -> Tensor:
        """pixels: 1 3 8h 8w in [0, 1]. Returns the unscaled latent of the noise-augmented picture, 1 4 h w."""
        noisy = augment_picture(pixels, micro.noise_aug_strength, seed, augmentation_noise)
        return self.vae.encode(noisy.to(self.device, torch.float32))

    def encode_frame(self, pixels: Tensor) -> Tensor:
        """pixels: 1 3 8h 8w in [0, 1], a frame of a clip. Returns its latent as the diffusion has it, 1 4 h w."""
        return self.frame_scale * self.vae.encode((2.0 * pixels - 1.0).to(self.device, torch.float32))

    def sampling_memory(self, choice: MemoryChoice = "automatic") -> SamplingMemory:
        """How one run fits its evaluations of the UNet to the memory of the device; for `denoise`."""
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

    def decode(self, latents: Tensor, frames_at_once: int = 0) -> Tensor:
        """latents: t 4 h w, scaled as the diffusion has them. Returns t 8h 8w 3 in [0, 1], fp32, on the CPU.

        A 16-bit decode that overflows is repeated in fp32, and says so.
        """
        check_latents(latents, self.vae.config.latent_channels)
        z = latents.float() / self.vae.config.scale_factor
        frames = decode_in_free_memory(
            self.vae, z, self.dtype, frames_at_once, device=self.device, in_dtype=self.vae.decoding_in
        )
        return (frames.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1).cpu()
