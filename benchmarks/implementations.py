"""The implementations side by side: each part of the model as ours, diffusers' and ComfyUI's own classes have it.

All hold the very same tensors, so that the full-size model fits into memory once for all of them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from svd_core.checkpoints.convert.diffusers_json import clip_json, unet_json, vae_json
from svd_core.memory.decode.clip import decode_clip
from svd_core.memory.decode.plan import DecodeCall
from svd_core.memory.decode.planner import plan_decode
from svd_core.memory.device import free_memory, room_to_spill
from svd_core.models.autoencoder import Autoencoder
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.native_vae import vae_arguments
from tools.comfyui import find_comfyui

from .cases import Case, UNetInputs
from .weights import Weights, diffusers_unet_names, diffusers_vae_names, load_case, under

OURS, DIFFUSERS, COMPILED, NATIVE = "SVD Nodes", "diffusers", "diffusers + compile", "ComfyUI classes"
IMPLEMENTATIONS = (OURS, DIFFUSERS, COMPILED, NATIVE)
PARTS = ("unet", "vae", "clip")

Run = Callable[[Any], Tensor]


class Part:
    """One part of the model ("unet", "vae" or "clip") in every implementation, as functions of the same inputs."""

    def __init__(self, case: Case, part: str, device: torch.device, dtype: torch.dtype) -> None:
        self.case, self.device, self.dtype = case, device, dtype
        self.ours = _OURS[part](getattr(case.config, part), Layers(device="meta", dtype=dtype)).eval()
        load_case(self.ours, case, part, device, dtype)
        self.weights: Weights = dict(self.ours.state_dict())
        self.modules: dict[str, Any] = {}

    def filled(self, module: nn.Module, weights: Weights) -> Any:
        module.load_state_dict(weights, assign=True)
        return module.eval()


class UNetPart(Part):
    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(case, "unet", device, dtype)

    def stages(self, who: str) -> dict[str, Run]:
        run = {OURS: self._ours, DIFFUSERS: self._diffusers, COMPILED: self._compiled, NATIVE: self._native}[who]
        return {"UNet step": run()}

    def _ours(self) -> Run:
        def run(inputs: UNetInputs) -> Tensor:
            x, c_noise, context, y = _per_frame(inputs)
            return self.ours(x, c_noise, context, y, inputs.num_frames)

        return run

    def _diffusers(self) -> Run:
        unet = self.diffusers()
        return lambda i: unet(i.x, i.c_noise, i.context, i.numbers.to(i.x.dtype)).sample.flatten(0, 1)

    def _compiled(self) -> Run:
        unet = torch.compile(self.diffusers())
        return lambda i: unet(i.x, i.c_noise, i.context, i.numbers.to(i.x.dtype)).sample.flatten(0, 1)

    def _native(self) -> Run:
        unet = self.native()

        def run(inputs: UNetInputs) -> Tensor:
            x, c_noise, context, y = _per_frame(inputs)
            return unet(x, c_noise, context=context, y=y, num_video_frames=inputs.num_frames, transformer_options={})

        return run

    def diffusers(self) -> Any:
        if DIFFUSERS not in self.modules:
            from diffusers import UNetSpatioTemporalConditionModel

            config = self.case.config.unet
            assert config is not None
            with building(config.norm_groups):
                unet: Any = UNetSpatioTemporalConditionModel.from_config(unet_json(config))
            align_resnet_eps(unet, config.resnet_eps)
            self.modules[DIFFUSERS] = self.filled(unet, diffusers_unet_names(self.case.config, self.weights))
        return self.modules[DIFFUSERS]

    def native(self) -> Any:
        import_comfyui()
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
        from comfy.model_detection import detect_unet_config

        config = self.case.config.unet
        assert config is not None
        arguments = detect_unet_config(self.weights, "") | {"num_heads": -1, "num_head_channels": config.head_dim}
        with building(config.norm_groups):
            unet = UNetModel(**arguments | {"dtype": self.dtype})
        return self.filled(unet, self.weights)


class VAEPart(Part):
    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(case, "vae", device, dtype)

    def stages(self, who: str) -> dict[str, Run]:
        """Pictures to latents and back: b 3 8h 8w, t 4 h w unscaled; without gradients and conversions around them."""
        encode, decode = {OURS: self._ours, DIFFUSERS: self._diffusers, COMPILED: self._compiled, NATIVE: self._native}[
            who
        ]()
        return {"VAE encode": encode, "decode": decode}

    def _ours(self) -> tuple[Run, Run]:
        return self.ours.encode, self._planned

    def _planned(self, z: Tensor) -> Tensor:
        """Encode like the pipeline."""
        free = free_memory(self.device), room_to_spill(self.device)
        plan = plan_decode(DecodeCall.of_shape(self.ours.config, z.shape, self.dtype, self.device), *free)
        return decode_clip(self.ours, z, plan)

    def _diffusers(self) -> tuple[Run, Run]:
        vae = self.diffusers()
        return lambda x: vae.encode(x).latent_dist.mode(), lambda z: vae.decode(z, num_frames=len(z)).sample

    def _compiled(self) -> tuple[Run, Run]:
        vae = self.diffusers()
        encode, decode = (torch.compile(method) for method in (vae.encode, vae.decode))
        return lambda x: encode(x).latent_dist.mode(), lambda z: decode(z, num_frames=len(z)).sample

    def diffusers(self) -> Any:
        if DIFFUSERS not in self.modules:
            from diffusers import AutoencoderKLTemporalDecoder

            config = self.case.config.vae
            assert config is not None
            with building(config.norm_groups):
                vae: Any = AutoencoderKLTemporalDecoder.from_config(vae_json(config) | {"layers_per_block": 2})
            shorten_levels(vae, config.num_res_blocks)
            self.modules[DIFFUSERS] = self.filled(vae, diffusers_vae_names(self.case.config, self.weights))
        return self.modules[DIFFUSERS]

    def _native(self) -> tuple[Run, Run]:
        import_comfyui()
        from comfy.ldm.modules.diffusionmodules.model import Encoder
        from comfy.ldm.modules.temporal_ae import VideoDecoder

        config = self.case.config.vae
        assert config is not None
        arguments = vae_arguments(config)
        with building(config.norm_groups):
            encoder = Encoder(**arguments)
            decoder = VideoDecoder(**arguments, video_kernel_size=[3, 1, 1], alpha=0.0)
        self.filled(encoder, under(self.weights, "encoder."))
        self.filled(decoder, under(self.weights, "decoder."))
        return lambda x: encoder(x)[:, : config.latent_channels], decoder


class CLIPPart(Part):
    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(case, "clip", device, dtype)

    def stages(self, who: str) -> dict[str, Run]:
        run = {OURS: self._ours, DIFFUSERS: self._diffusers, COMPILED: self._compiled, NATIVE: self._native}[who]
        return {"CLIP": run()}

    def _ours(self) -> Run:
        return lambda pixels: self.ours(pixels).image_embeds

    def _diffusers(self) -> Run:
        clip = self.diffusers()
        return lambda pixels: clip(pixels).image_embeds

    def _compiled(self) -> Run:
        clip = torch.compile(self.diffusers())
        return lambda pixels: clip(pixels).image_embeds

    def diffusers(self) -> Any:
        """The class of the transformers library that diffusers uses."""
        if DIFFUSERS not in self.modules:
            from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

            config = self.case.config.clip
            assert config is not None
            with building():
                clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**clip_json(config)))
            positions = (config.image_size // config.patch_size) ** 2 + 1
            embeddings = clip.vision_model.embeddings
            embeddings.position_ids = torch.arange(positions, device=self.device)[None]  # not part of the weights
            self.modules[DIFFUSERS] = self.filled(clip, self.weights)
        return self.modules[DIFFUSERS]

    def _native(self) -> Run:
        import_comfyui()
        from comfy.clip_model import CLIPVisionModelProjection
        from comfy.ops import disable_weight_init

        assert self.case.config.clip is not None
        arguments = clip_json(self.case.config.clip) | {"num_channels": 3}
        clip = CLIPVisionModelProjection(arguments, self.dtype, "meta", disable_weight_init)
        self.filled(clip, self.weights)
        return lambda pixels: clip(pixels, intermediate_output=-2)[2]


_OURS: dict[str, Any] = {"unet": VideoUNet, "vae": Autoencoder, "clip": ClipVision}
PART_CLASSES: dict[str, Any] = {"unet": UNetPart, "vae": VAEPart, "clip": CLIPPart}


def align_resnet_eps(unet: nn.Module, eps: float) -> None:
    """diffusers builds most residual blocks with 1e-6, where the weights were trained with 1e-5."""
    from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock

    for module in unet.modules():
        if isinstance(module, (ResnetBlock2D, TemporalResnetBlock)):
            module.norm1.eps = module.norm2.eps = eps


def import_comfyui() -> None:
    """Its modules need it on the path, and parse the command line when they are imported."""
    if "comfy.options" in sys.modules:
        return
    sys.path.insert(0, str(find_comfyui()))
    sys.argv = ["main.py"] if torch.cuda.is_available() else ["main.py", "--cpu"]
    logging.disable(logging.INFO)
    import comfy.options

    comfy.options.enable_args_parsing()


def _per_frame(inputs: UNetInputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames in the batch axis, each with the conditioning of its clip."""
    rows = (inputs.c_noise, inputs.context, inputs.y)
    return inputs.x.flatten(0, 1), *(row.repeat_interleave(inputs.num_frames, dim=0) for row in rows)  # type: ignore[return-value]


@contextmanager
def building(groups: int = 32) -> Iterator[None]:
    """Modules without memory for weights. Others fix 32 norm groups, and the bundled model has fewer."""
    construct = nn.GroupNorm.__init__

    def with_groups(self: nn.GroupNorm, num_groups: int, *args: Any, **kwargs: Any) -> None:
        construct(self, groups, *args, **kwargs)

    with torch.device("meta"), patch.object(nn.GroupNorm, "__init__", with_groups):
        yield


def shorten_levels(vae: Any, num_res_blocks: int) -> None:
    """diffusers ties the number of blocks of a level to that of the middle, which the bundled model does not."""
    for blocks, count in ((vae.encoder.down_blocks, num_res_blocks), (vae.decoder.up_blocks, num_res_blocks + 1)):
        for level in blocks:
            level.resnets = level.resnets[:count]
