"""VAE: our autoencoder as the host's own VAE object."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch import Tensor

from ...svd_core.checkpoints import Checkpoint, settings_tensor
from ...svd_core.config import AutoencoderConfig
from ...svd_core.memory.decode.estimate import decode_footprint, encode_bytes
from ...svd_core.memory.decode.plan import DecodeCall, DecodePlan
from ...svd_core.memory.decode.planner import decode_in_free_memory
from ...svd_core.models.autoencoder import Autoencoder
from ...svd_core.models.finite import check_finite
from ...svd_core.models.layers import Layers
from ...svd_core.pipeline.stages import encode_frames
from .folders import ProgressBar, model_management
from .versions import is_oom, output_dtype, without_lack_of_weights
from .weights import load_part

logger = logging.getLogger(__name__)


class SVDVAE(comfy.sd.VAE):
    """Encodes in fp32, decodes whole clips: frames are the batch, and all frames of a call are one clip.

    The host's own class would cut the clip by free memory and decode the pieces as clips of their own, so that the
    picture depends on the machine and shows seams. Here memory decides how many frames are held at once, and nothing
    else.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype | None, dynamic: bool = True) -> None:
        """dtype: type of the stored weights, by default the file's. The host's VAE options choose the decode's."""
        with without_lack_of_weights():
            super().__init__(sd={})  # sets what a VAE of this host has, new attributes too, and goes no further
        config = checkpoint.vae
        self.device = model_management.vae_device()
        self.vae_dtype = model_management.vae_dtype(self.device, [torch.float16, torch.float32])
        self.output_device = model_management.intermediate_device()
        self.pixel_multiple = checkpoint.config.pixel_multiple
        self._describe(config)

        dtype = dtype or (torch.float32 if self.vae_dtype == torch.float32 else checkpoint.dtype("vae"))
        module = Autoencoder(config, Layers(comfy.ops.manual_cast, dtype)).eval().requires_grad_(False)
        model_management.archive_model_dtypes(module)
        self.first_stage_model = module
        patcher_class = comfy.model_patcher.CoreModelPatcher if dynamic else comfy.model_patcher.ModelPatcher
        self.patcher = patcher_class(
            module, load_device=self.device, offload_device=model_management.vae_offload_device()
        )
        load_part(module, checkpoint, "vae", dtype, dynamic=self.patcher.is_dynamic())
        self.patcher.cached_patcher_init = (reload_vae_patcher, (checkpoint, dtype))
        self.model_size()

    def _describe(self, config: AutoencoderConfig) -> None:
        """Set what methods inherited from the host's class read and is not as it is in most autoencoders."""
        self.config = config
        self.latent_channels = config.latent_channels
        self.output_channels = config.image_channels
        self.downscale_ratio = self.upscale_ratio = config.downscale
        self.process_input = lambda image: image * 2.0 - 1.0
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.float16, torch.float32]
        self.memory_used_encode = self._encode_bytes
        self.memory_used_decode = self._decode_bytes

    def _encode_bytes(self, shape: torch.Size, dtype: torch.dtype) -> int:
        """Bytes for encoding one picture at a time, in fp32 whatever the weights are. shape: b 3 h w."""
        height, width = shape[-2:]
        scale = self.config.downscale
        return encode_bytes(self.config, height // scale, width // scale, on_cpu=self.device.type == "cpu")

    def _decode_bytes(self, shape: torch.Size, dtype: torch.dtype) -> int:
        """Bytes for a decode of one frame at a time, with its buffers on the device. shape: t 4 h w."""
        num_frames, _, height, width = shape
        call = DecodeCall(self.config, height, width, num_frames, dtype, self.device.type == "cpu")
        return decode_footprint(call, DecodePlan(1)).device

    def encode(self, pixel_samples: Tensor, **_: Any) -> Tensor:
        """pixel_samples: b 8h 8w 3 in [0, 1]. Returns b 4 h w, unscaled."""
        pixels = self.vae_encode_crop_pixels(pixel_samples).movedim(-1, 1)
        needed = self.memory_used_encode(pixels.shape, torch.float32)
        model_management.load_models_gpu([self.patcher], memory_required=needed)
        encoded = [
            self.first_stage_model.encode(self.process_input(picture).to(self.device, torch.float32))
            for picture in pixels.split(1)
        ]
        latents = torch.cat(encoded)
        check_finite(latents, "The latents of a picture", self.first_stage_model.encoder, "VAE", torch.float32)
        return latents.to(self.output_device, output_dtype(self))

    def encode_tiled(self, pixel_samples: Tensor, *_: Any, **__: Any) -> Tensor:
        """The host's tiles would be encoded in the decode's type; one whole picture takes little memory."""
        logger.info("VAE of SVD Loader: tile sizes are not needed, encoding one whole picture at a time.")
        return self.encode(pixel_samples)

    def decode(self, samples_in: Tensor, vae_options: dict[str, Any] | None = None, **_: Any) -> Tensor:
        """samples_in: t 4 h w. Returns t 8h 8w 3 in [0, 1]."""
        return self.decode_clip(samples_in[:, :, 0] if samples_in.ndim == 5 else samples_in)

    def decode_tiled(self, samples: Tensor, *_: Any, **__: Any) -> Tensor:
        """The host's tiles would cut the clip into lone frames; this is the exact decode, one frame at a time."""
        logger.info("VAE of SVD Loader: tile sizes are not needed, decoding the whole clip one frame at a time.")
        return self.decode_clip(samples, frames_at_once=1)

    def decode_clip(self, latents: Tensor, frames_at_once: int = 0) -> Tensor:
        """Decode one clip, t 4 h w. frames_at_once: 0 lets the free memory decide; the result is the same.

        Returns t 8h 8w 3 in [0, 1].
        """
        needed = self.memory_used_decode(latents.shape, self.vae_dtype)
        model_management.load_models_gpu([self.patcher], memory_required=needed)
        frames = decode_in_free_memory(
            self.first_stage_model,
            latents,
            self.vae_dtype,
            frames_at_once,
            device=self.device,
            free_memory=self.patcher.get_free_memory,
            is_oom=is_oom,
        )
        frames = frames.to(self.output_device, output_dtype(self))
        return self.process_output(frames).movedim(1, -1)

    def get_sd(self) -> dict[str, Tensor]:
        """The weights to save. The host's image decoder expects a `quant_conv`; ours is folded, so an identity."""
        weights = self.first_stage_model.state_dict() | settings_tensor("vae", self.config)
        if not self.config.temporal_decoder:
            channels = 2 * self.config.latent_channels
            like = weights["encoder.conv_out.weight"]
            weights["quant_conv.weight"] = torch.eye(channels, dtype=like.dtype)[:, :, None, None]
            weights["quant_conv.bias"] = torch.zeros(channels, dtype=like.dtype)
        return weights


def reload_vae_patcher(checkpoint: Checkpoint, dtype: torch.dtype, disable_dynamic: bool = False, **_: Any) -> Any:
    """Build the same VAE again, for the host's device selection."""
    return SVDVAE(checkpoint, dtype, dynamic=not disable_dynamic).patcher


def encode_like(vae: Any, frames: Tensor, clip: Tensor, fit: str) -> Tensor:
    """Encode pictures in the size of a clip through any VAE, with progress and Cancel between them.

    frames: k h' w' 3 in [0, 1]; clip: t 4 h w. Returns unscaled latents, k 4 h w.
    """
    size = video_size(vae, clip)
    return encode_frames(_report_each(frames), lambda pixels: vae.encode(pixels.movedim(1, -1)), *size, fit)


def video_size(vae: Any, clip: Tensor) -> tuple[int, int]:
    """Width and height, in pixels, of latents t 4 h w."""
    scale = vae.spacial_compression_encode()
    return scale * clip.shape[-1], scale * clip.shape[-2]


def _report_each(frames: Tensor) -> Iterator[Tensor]:
    bar = ProgressBar(len(frames))
    for frame in frames:
        model_management.throw_exception_if_processing_interrupted()
        yield frame
        bar.update(1)
