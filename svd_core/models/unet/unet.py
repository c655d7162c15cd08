"""The video UNet (Stable Video Diffusion, Blattmann et al. 2023; Stability's `VideoUNet`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import UNetConfig
from ...diffusion.step_cache import OUTER_BLOCKS, Features
from ..embeddings import sinusoidal_embedding
from ..kernels.group_norm import normalise_silu
from ..kernels.memory_format import laid_out
from ..layers import Layers
from ..split import Conditions, Split, run_split
from .hooks import UNetHooks
from .resnet import Downsample, Upsample, VideoResBlock
from .transformer import SpatialVideoTransformer


class VideoUNet(nn.Module):
    """Predicts v for every frame of a clip. Parameter names are the official ones.

    The hooks are the network's only window to its surroundings; see `hooks.py`.
    """

    def __init__(self, config: UNetConfig, layers: Layers | None = None) -> None:
        super().__init__()
        layers = layers or Layers()
        self.config = config
        self.dtype = layers.dtype or torch.get_default_dtype()
        width, emb_dim = config.model_channels, config.time_embed_dim
        self.time_embed = nn.Sequential(layers.linear(width, emb_dim), nn.SiLU(), layers.linear(emb_dim, emb_dim))
        label_embed = (layers.linear(config.adm_in_channels, emb_dim), nn.SiLU(), layers.linear(emb_dim, emb_dim))
        self.label_emb = nn.Sequential(nn.Sequential(*label_embed))

        build = _BlockBuilder(config, layers)
        self.input_blocks = nn.ModuleList(build.input_blocks())
        self.middle_block = build.middle_block()
        self.output_blocks = nn.ModuleList(build.output_blocks())
        self.out = nn.Sequential(
            layers.group_norm(config.norm_groups, width, eps=1e-5), nn.SiLU(), layers.conv(width, config.out_channels)
        )

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        context: Tensor,
        y: Tensor,
        num_frames: int,
        *,
        time_context: Tensor | None = None,
        image_only: Tensor | None = None,
        hooks: UNetHooks | None = None,
        split: Split | None = None,
        features: Features | None = None,
    ) -> Tensor:
        """One evaluation.

        x: (b t) 8 h w, the noisy latents scaled by c_in, then the conditioning latent.
        c_noise: (b t), a quarter of ln sigma. context: (b t) m k, image embeddings. y: (b t) 768, micro-conditioning.
        One row of c_noise and one of y serve all frames.
        num_frames: t. time_context: (b t) m k for the temporal layers, default `context`; its first frame counts.
        image_only: (b t), nonzero for frames that are lone images. split: a bound on what is alive at once, which
        leaves the result as it is; without gradients. features: deep ones kept between evaluations, which changes it.
        Returns v, (b t) 4 h w.
        """
        hooks = hooks or UNetHooks()
        emb = F.silu(self._embed(c_noise, y, x.dtype, hooks))  # (b t) d, or 1 d
        time_context = (context if time_context is None else time_context)[::num_frames]  # b m k
        if split is not None:
            conditions = Conditions(emb.expand(len(x), -1), context, time_context, num_frames, image_only, hooks)
            return run_split(self, x, conditions, split, features)

        def run(block: nn.Module, h: Tensor, size: tuple[int, int] | None = None) -> Tensor:
            for layer in block.children():
                if isinstance(layer, VideoResBlock):
                    h = layer(h, emb, num_frames, image_only, hooks)
                elif isinstance(layer, SpatialVideoTransformer):
                    h = layer(h, context, time_context, num_frames, image_only, hooks)
                elif isinstance(layer, Upsample):
                    h = layer(h, size)
                else:
                    h = layer(h)
            return h

        x = laid_out(x, self.config.model_channels)
        noisy = x[:, : self.config.out_channels]
        deep = None if features is None else features.recall(noisy)
        first_outer = len(self.output_blocks) - OUTER_BLOCKS

        h, skips = x, []
        for index, block in enumerate(self.input_blocks if deep is None else self.input_blocks[:OUTER_BLOCKS]):
            hooks.before_block("input", index)
            h, skip = hooks.after_input_block(run(block, h))
            skips.append(skip)

        if deep is None:
            hooks.before_block("middle", 0)
            h = hooks.after_middle_block(run(self.middle_block, h))

        for index, block in enumerate(self.output_blocks):
            if deep is not None and index < first_outer:
                continue
            if features is not None and index == first_outer:
                if deep is None:
                    features.keep(noisy, h)
                else:
                    h = deep
                h = h.clone() if hooks.watches_output_block() else h  # it may be written into
            hooks.before_block("output", index)
            h, skip = hooks.before_output_block(h, skips.pop())
            size = skips[-1].shape[-2:] if skips else None
            h = run(block, torch.cat([h, skip], dim=1), size)
        norm, _, conv = self.out
        return conv(normalise_silu(norm, h.to(x.dtype), hooks.norm_parameters))

    def _embed(self, c_noise: Tensor, y: Tensor, dtype: torch.dtype, hooks: UNetHooks) -> Tensor:
        sinusoid = sinusoidal_embedding(c_noise, self.config.model_channels, self.config.max_period)
        emb = hooks.embedding(self.time_embed(sinusoid.to(dtype)))
        return emb + hooks.once(self.label_emb, lambda: self.label_emb(y.to(dtype)))


class _BlockBuilder:
    """Lays out the numbered blocks of the UNet: down the levels, the middle, and up again."""

    def __init__(self, config: UNetConfig, layers: Layers) -> None:
        self.config = config
        self.layers = layers
        self.levels = list(zip(config.widths, config.attention_levels, strict=True))

    def resnet(self, c_in: int, c_out: int) -> VideoResBlock:
        c = self.config
        return VideoResBlock(self.layers, c_in, c_out, c.time_embed_dim, c.norm_groups, c.resnet_eps)

    def attention(self, channels: int) -> SpatialVideoTransformer:
        c = self.config
        return SpatialVideoTransformer(
            self.layers,
            channels,
            context_dim=c.context_dim,
            head_dim=c.head_dim,
            depth=c.transformer_depth,
            norm_groups=c.norm_groups,
            norm_eps=c.transformer_eps,
            max_period=c.max_period,
            num_positions=c.num_positions,
        )

    def input_blocks(self) -> Iterator[nn.ModuleList]:
        c = self.config
        yield nn.ModuleList([self.layers.conv(c.in_channels, c.model_channels)])
        channels = c.model_channels
        for level, (width, attends) in enumerate(self.levels):
            for _ in range(c.num_res_blocks):
                yield nn.ModuleList([self.resnet(channels, width), *([self.attention(width)] if attends else [])])
                channels = width
            if level < len(self.levels) - 1:
                yield nn.ModuleList([Downsample(self.layers, width)])

    def middle_block(self) -> nn.ModuleList:
        width = self.config.widths[-1]
        return nn.ModuleList([self.resnet(width, width), self.attention(width), self.resnet(width, width)])

    def output_blocks(self) -> Iterator[nn.ModuleList]:
        channels = self.config.widths[-1]
        skips = self._skip_channels()
        for level, (width, attends) in reversed(list(enumerate(self.levels))):
            for index in range(self.config.num_res_blocks + 1):
                block: list[nn.Module] = [self.resnet(channels + skips.pop(), width)]
                if attends:
                    block.append(self.attention(width))
                if level > 0 and index == self.config.num_res_blocks:
                    block.append(Upsample(self.layers, width))
                yield nn.ModuleList(block)
                channels = width

    def _skip_channels(self) -> list[int]:
        """Channels of what each input block hands to its counterpart on the way up."""
        c = self.config
        skips = [c.model_channels]
        for level, width in enumerate(c.widths):
            skips += [width] * c.num_res_blocks
            if level < len(c.widths) - 1:
                skips.append(width)
        return skips
