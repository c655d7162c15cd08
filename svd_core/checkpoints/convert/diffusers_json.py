"""JSON files of a diffusers folder, made from our configurations."""

from __future__ import annotations

from typing import Any

from ...config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig

SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
    "steps_offset": 1,
}
MODEL_INDEX = {
    "_class_name": "StableVideoDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}


def unet_json(c: UNetConfig, num_frames: int = 25) -> dict[str, Any]:
    kinds = {True: "CrossAttn{}BlockSpatioTemporal", False: "{}BlockSpatioTemporal"}
    return {
        "_class_name": "UNetSpatioTemporalConditionModel",
        "in_channels": c.in_channels,
        "out_channels": c.out_channels,
        "block_out_channels": list(c.widths),
        "down_block_types": [kinds[attends].format("Down") for attends in c.attention_levels],
        "up_block_types": [kinds[attends].format("Up") for attends in reversed(c.attention_levels)],
        "layers_per_block": c.num_res_blocks,
        "num_attention_heads": [width // c.head_dim for width in c.widths],
        "cross_attention_dim": c.context_dim,
        "addition_time_embed_dim": c.adm_in_channels // 3,
        "projection_class_embeddings_input_dim": c.adm_in_channels,
        "transformer_layers_per_block": c.transformer_depth,
        "num_frames": num_frames,
        "sample_size": 96,
    }


def vae_json(c: AutoencoderConfig) -> dict[str, Any]:
    levels = len(c.channel_mult)
    config = {
        "_class_name": "AutoencoderKLTemporalDecoder" if c.temporal_decoder else "AutoencoderKL",
        "in_channels": c.image_channels,
        "out_channels": c.image_channels,
        "latent_channels": c.latent_channels,
        "block_out_channels": list(c.widths),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "layers_per_block": c.num_res_blocks,
        "scaling_factor": c.scale_factor,
        "force_upcast": True,
        "sample_size": 768,
    }
    return config if c.temporal_decoder else config | {"up_block_types": ["UpDecoderBlock2D"] * levels}


def clip_json(c: ClipVisionConfig) -> dict[str, Any]:
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "patch_size": c.patch_size,
        "image_size": c.image_size,
        "projection_dim": c.projection_dim,
        "layer_norm_eps": c.norm_eps,
    }


def preprocessor_json(config: ModelConfig) -> dict[str, Any]:
    size = config.clip.image_size if config.clip else 224
    return {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": size, "width": size},
        "size": {"shortest_edge": size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
