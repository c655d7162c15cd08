"""MODEL: our UNet inside the host's own model class and patcher.

Everything the host does to a model (loading in part, evicting, LoRA, patches, compiling, merging, saving) works on
these because they are the real classes; only the network inside is ours.
"""

from __future__ import annotations

from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep
from torch import Tensor, nn

from ...svd_core.checkpoints import Checkpoint, settings_tensor
from ...svd_core.checkpoints.releases import LatentColours
from ...svd_core.config import UNetConfig
from ...svd_core.memory.activations import UNetCall
from ...svd_core.memory.sampling import SamplingMemory
from ...svd_core.models.kernels.fp8 import FP8
from ...svd_core.models.layers import Layers
from ...svd_core.models.pieces import ALL, Pieces
from ...svd_core.models.unet.evaluation import DeepFeatures
from ...svd_core.models.unet.resnet import VideoResBlock
from ...svd_core.models.unet.transformer import SpatialVideoTransformer
from ...svd_core.models.unet.unet import VideoUNet
from .finite import check_outcome
from .folders import model_management
from .latents import NUM_VIDEO_FRAMES, check_embeds, count_frames_per_picture, guide_clips_apart
from .memory import activation_bytes, run_of
from .unet_hooks import HostHooks
from .weights import load_part, num_parameters


class HostUNet(VideoUNet):
    """The core UNet, called as the host calls its own."""

    def __init__(
        self,
        core_config: UNetConfig,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        operations: Any = None,
        **_: Any,
    ) -> None:
        """The host passes its whole `unet_config`; what describes its own network is not needed here."""
        super().__init__(core_config, Layers(operations, dtype, device))

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control: dict[str, Any] | None = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """x: (b t) 8 h w; timesteps: (b t), a quarter of ln sigma; context: (b t) m k; y: (b t) 768."""
        options = {} if transformer_options is None else transformer_options
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._run,
            self,
            comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options),
        )
        return executor.execute(x, timesteps, context, y, control, options, **kwargs)

    def _run(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control: dict[str, Any] | None,
        transformer_options: dict[str, Any],
        num_video_frames: int | None = None,
        time_context: Tensor | None = None,
        image_only_indicator: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        num_frames = num_video_frames or len(x)
        image_only = None if image_only_indicator is None else image_only_indicator.flatten()

        def evaluate(
            pieces: Pieces, memory: SamplingMemory | None = None, features: DeepFeatures | None = None
        ) -> Tensor:
            # An evaluation uses up the residuals of control networks, and it may be repeated.
            residuals = None if control is None else {name: list(some) for name, some in control.items()}
            passed = {"x": x, "context": context, "y": y, "timesteps": timesteps}
            hooks = HostHooks(transformer_options, residuals, self.config.model_channels, passed)
            arguments = (x, timesteps, context, y, num_frames)
            v = VideoUNet.forward(
                self,
                *arguments,
                time_context=time_context,
                image_only=image_only,
                hooks=hooks,
                pieces=pieces,
                features=features,
            )
            if memory is not None and not pieces.whole and hooks.watches_any_transformer():
                memory.say_once("Attention patches see the whole clip, which takes more memory than planned.")
            return v

        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return evaluate(ALL)  # what is free now must not be compiled in; gradients need every activation anyway
        height, width = x.shape[-2:]
        state, clips = run_of(transformer_options, x.device), max(1, len(x) // num_frames)
        call = UNetCall(height, width, num_frames, x.dtype, clips, context.shape[1], state.cache.branches, x.is_cpu)
        features = state.features(transformer_options, control)
        return state.memory.run(self.config, call, lambda pieces: evaluate(pieces, state.memory, features))


class SVDModel(comfy.model_base.SVD_img2vid):
    """The host's SVD model (its conditioning, its sigmas, its latent format) around our UNet."""

    def __init__(self, model_config: SVDModelConfig, device: torch.device | None = None) -> None:
        comfy.model_base.BaseModel.__init__(
            self,
            model_config,
            comfy.model_base.ModelType.V_PREDICTION_EDM,
            device=device,
            unet_model=HostUNet,
        )
        self.embedder = Timestep(256)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Conditioning under the host's own samplers: each of several pictures has a clip of its own."""
        check_embeds(kwargs.get("cross_attn"), self.model_config)
        num_frames = count_frames_per_picture(kwargs.get("cross_attn"), len(kwargs["noise"]))
        if num_frames < len(kwargs["noise"]):
            kwargs["cross_attn"] = kwargs["cross_attn"].repeat_interleave(num_frames, dim=0)  # (b t) 1 d
        return {**super().extra_conds(**kwargs), NUM_VIDEO_FRAMES: comfy.conds.CONDConstant(num_frames)}

    def memory_required(self, input_shape: Any, cond_shapes: Any = None, **_: Any) -> float:
        """Bytes of activations of one evaluation; both guidance branches count in input_shape, (b t) 4 h w."""
        return activation_bytes(self.diffusion_model.config, input_shape, self.get_dtype_inference())

    def resize_cond_for_context_window(
        self, cond_key: str, cond_value: Any, window: Any, x_in: Tensor, device: Any, *_: Any, **__: Any
    ) -> Any:
        """A context window is a clip of its own length; the host adds a frame where it anchors the window."""
        if cond_key != NUM_VIDEO_FRAMES:
            return None
        anchor = getattr(window, "causal_anchor_index", None)
        anchored = anchor is not None and anchor >= 0
        return comfy.conds.CONDConstant(len(window.index_list) + int(anchored))


class SVDModelConfig(comfy.supported_models.SVD_img2vid):
    def get_model(self, state_dict: Any, prefix: str = "", device: torch.device | None = None, **_: Any) -> SVDModel:
        model = SVDModel(self, device=device)
        self.unet_config |= describe_blocks(model.diffusion_model)
        return model

    def process_unet_state_dict_for_saving(self, state_dict: Any, **options: Any) -> Any:
        settings = settings_tensor("unet", self.unet_config["core_config"])
        return super().process_unet_state_dict_for_saving({**state_dict, **settings}, **options)


def host_unet_config(config: UNetConfig) -> dict[str, Any]:
    """The host's own description of the network, which its LoRA and patch nodes read, with ours beside it.

    `describe_blocks` adds what only the built network tells.
    """
    return {
        "image_size": 32,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "model_channels": config.model_channels,
        "channel_mult": list(config.channel_mult),
        "num_res_blocks": [config.num_res_blocks] * len(config.channel_mult),
        "context_dim": config.context_dim,
        "num_classes": "sequential",
        "adm_in_channels": config.adm_in_channels,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "legacy": False,
        "extra_ff_mix_layer": True,
        "use_spatial_context": True,
        "merge_strategy": "learned_with_images",
        "merge_factor": 0.0,
        "video_kernel_size": [3, 1, 1],
        "use_temporal_resblock": True,
        "use_temporal_attention": True,
        "disable_self_attentions": None,
        "core_config": config,
    }


def describe_blocks(unet: VideoUNet) -> dict[str, Any]:
    """The host's entries for the transformers: how deep each is, 0 for a residual block without one.

    The finest level comes first, on the way down and on the way up.
    """

    def depth(block: nn.Module) -> int:
        return sum(
            len(layer.transformer_blocks) for layer in block.children() if isinstance(layer, SpatialVideoTransformer)
        )

    def has_resnet(block: nn.Module) -> bool:
        return any(isinstance(layer, VideoResBlock) for layer in block.children())

    return {
        "transformer_depth": [depth(block) for block in unet.input_blocks if has_resnet(block)],
        "transformer_depth_output": [depth(block) for block in reversed(unet.output_blocks) if has_resnet(block)],
        "transformer_depth_middle": depth(unet.middle_block),
    }


def make_latent_format(colours: LatentColours) -> Any:
    """For latents that no other autoencoder knows: every preview makes the linear guess, with these colours."""
    made = comfy.latent_formats.SD15()
    made.latent_rgb_factors = [list(channel) for channel in colours.factors]
    made.latent_rgb_factors_bias = list(colours.bias)
    made.taesd_decoder_name = None
    return made


def make_model(checkpoint: Checkpoint, dtype: torch.dtype | None, dynamic: bool = True) -> Any:
    """A ModelPatcher with the checkpoint's UNet. dtype: type of the weights; None lets the host choose."""
    device = model_management.get_torch_device()
    parameters = num_parameters(checkpoint, "unet")
    config = SVDModelConfig(host_unet_config(checkpoint.unet))
    if checkpoint.release and checkpoint.release.colours:
        config.latent_format = make_latent_format(checkpoint.release.colours)
    supported = list(config.supported_inference_dtypes)
    dtype = dtype or model_management.unet_dtype(
        model_params=parameters, supported_dtypes=supported, weight_dtype=checkpoint.dtype("unet")
    )
    compute_dtype = model_management.unet_manual_cast(dtype, device, supported)
    config.set_inference_dtype(dtype, compute_dtype)

    initial = model_management.unet_inital_load_device(parameters, dtype)
    model = config.get_model(None, device=initial)
    patcher_class = comfy.model_patcher.CoreModelPatcher if dynamic else comfy.model_patcher.ModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=model_management.unet_offload_device())
    if dtype == FP8:
        vectors = compute_dtype or torch.float32
        load_part(model.diffusion_model, checkpoint, "unet", vectors, patcher.is_dynamic(), matrix_dtype=dtype)
        model_management.archive_model_dtypes(model.diffusion_model)
    else:
        load_part(model.diffusion_model, checkpoint, "unet", dtype, patcher.is_dynamic())
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "svd_clips", guide_clips_apart)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "svd_finite", check_outcome)
    patcher.cached_patcher_init = (reload_model, (checkpoint, dtype))
    return patcher


def reload_model(checkpoint: Checkpoint, dtype: torch.dtype, disable_dynamic: bool = False, **_: Any) -> Any:
    """Build the same model again: the host asks for it to compile it, or to run it on another device."""
    return make_model(checkpoint, dtype, dynamic=not disable_dynamic)
