"""The CLIP image tower (Radford et al. 2021; OpenCLIP ViT-H/14 in the released files)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import ClipVisionConfig
from .attention import scaled_dot_product_attention
from .layers import Layers


class ClipVisionOutput(NamedTuple):
    last_hidden_state: Tensor  # b n c, before the last norm
    penultimate_hidden_state: Tensor  # b n c
    image_embeds: Tensor  # b d, projected, not normalised


class SelfAttention(nn.Module):
    def __init__(self, layers: Layers, config: ClipVisionConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            layers.linear(config.width, config.width) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(
            scaled_dot_product_attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads)
        )  # b n c


class MLP(nn.Module):
    def __init__(self, layers: Layers, config: ClipVisionConfig) -> None:
        super().__init__()
        self.fc1 = layers.linear(config.width, config.mlp_width)
        self.fc2 = layers.linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # exact gelu


class EncoderLayer(nn.Module):
    def __init__(self, layers: Layers, config: ClipVisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = layers.layer_norm(config.width, config.norm_eps)
        self.self_attn = SelfAttention(layers, config)
        self.layer_norm2 = layers.layer_norm(config.width, config.norm_eps)
        self.mlp = MLP(layers, config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, layers: Layers, config: ClipVisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(layers, config) for _ in range(config.num_layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the states after the last layer and after the one before it."""
        penultimate = x
        for layer in self.layers:
            penultimate, x = x, layer(x)
        return x, penultimate


class Embeddings(nn.Module):
    def __init__(self, layers: Layers, config: ClipVisionConfig) -> None:
        super().__init__()
        num_patches = (config.image_size // config.patch_size) ** 2
        self.class_embedding = layers.parameter(config.width)
        self.patch_embedding = layers.patch_conv(3, config.width, config.patch_size)
        self.position_embedding = layers.embedding(num_patches + 1, config.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: b 3 s s. Returns the class token and the patches, b 1+n c."""
        patches = rearrange(self.patch_embedding(pixels), "b c h w -> b (h w) c")
        first = self.class_embedding.to(patches).expand(len(patches), 1, -1)
        places = self.position_embedding(torch.arange(patches.shape[1] + 1, device=patches.device))
        return torch.cat([first, patches], dim=1) + places.to(patches)


class VisionTransformer(nn.Module):
    def __init__(self, layers: Layers, config: ClipVisionConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(layers, config)
        self.pre_layrnorm = layers.layer_norm(config.width, config.norm_eps)  # sic: the published name
        self.encoder = Encoder(layers, config)
        self.post_layernorm = layers.layer_norm(config.width, config.norm_eps)


class ClipVision(nn.Module):
    """Parameter names are those of transformers, which diffusers folders and host-saved files share.

    OpenCLIP's fused projections are split on load: three plain linear layers are something a host can move and cast.
    """

    def __init__(self, config: ClipVisionConfig, layers: Layers | None = None) -> None:
        super().__init__()
        layers = layers or Layers()
        self.config = config
        self.vision_model = VisionTransformer(layers, config)
        self.visual_projection = layers.linear(config.width, config.projection_dim, bias=False)

    def forward(self, pixels: Tensor) -> ClipVisionOutput:
        """pixels: b 3 s s, normalised with CLIP's mean and standard deviation."""
        vit = self.vision_model
        last, penultimate = vit.encoder(vit.pre_layrnorm(vit.embeddings(pixels)))
        pooled = vit.post_layernorm(last[:, 0])
        return ClipVisionOutput(last, penultimate, self.visual_projection(pooled))
