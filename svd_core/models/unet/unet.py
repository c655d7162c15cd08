"""The video UNet (Stable Video Diffusion, Blattmann et al. 2023; Stability's `VideoUNet`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import UNetConfig
from ...errors import SVDError
from ..embeddings import sinusoidal_embedding
from ..kernels.group_norm import normalise_silu
from ..kernels.memory_format import laid_out
from ..layers import Layers
from ..pieces import ALL, Pieces, collect, cut
from .evaluation import BlockInput, Constants, DeepFeatures, Evaluation
from .hooks import BlockKind, UNetHooks
from .resnet import Downsample, Upsample, VideoResBlock
from .transformer import SpatialVideoTransformer

# Numbered blocks that run although deep features are recalled, on the way down and on the way up: the first convolution
# and the last block. In the released models they take 9 % of the work; two of each would take 26 %, and make the error
# hardly smaller.
OUTER_BLOCKS = 1


@dataclass(frozen=True)
class NumberedBlock:
    """A block under its official number, and its layers in running order."""

    kind: BlockKind
    index: int
    layers: nn.Module


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
        pieces: Pieces = ALL,
        features: DeepFeatures | None = None,
        constants: Constants | None = None,
    ) -> Tensor:
        """One evaluation.

        x: (b t) 8 h w, the noisy latents scaled by c_in, then the conditioning latent.
        c_noise: (b t), a quarter of ln sigma. context: (b t) m k, image embeddings. y: (b t) 768, micro-conditioning.
        One row of c_noise and one of y serve all frames.
        num_frames: t. time_context: (b t) m k for the temporal layers, default `context`; its first frame counts.
        image_only: (b t), nonzero for frames that are lone images.
        pieces: a bound on what is alive at once, without gradients; the result stays the same.
        features: deep features kept between evaluations, which change the result. constants: outputs kept for a run.
        Returns v, (b t) 4 h w.
        """
        hooks = hooks or UNetHooks()
        with torch.set_grad_enabled(torch.is_grad_enabled() and pieces.whole):
            emb = F.silu(self._embed(c_noise, y, x.dtype, hooks, constants))  # (b t) d, or 1 d
            x, context = (_count_rows(each, num_frames) for each in (x, context))
            over_time = context if time_context is None else time_context  # (b t) m k
            over_time = over_time.unflatten(0, (-1, num_frames))[:, 0]  # b m k
            call = Evaluation(emb, context, over_time, num_frames, image_only, hooks, constants)
            noisy = x[:, : self.config.out_channels]
            deep = None if features is None else features.recall(noisy)
            walk, blocks = ForwardPass(self, x, call, pieces), self.blocks()
            for block in blocks[:-OUTER_BLOCKS] if deep is None else blocks[:OUTER_BLOCKS]:
                walk.run(block)
            if features is not None:
                if deep is None:
                    features.keep(noisy, deep := walk.take())
                walk.resume(deep)
            for block in blocks[-OUTER_BLOCKS:]:
                walk.run(block)
            return walk.finish()

    def blocks(self) -> list[NumberedBlock]:
        """The numbered blocks in running order."""
        return [
            *(NumberedBlock("input", index, block) for index, block in enumerate(self.input_blocks)),
            NumberedBlock("middle", 0, self.middle_block),
            *(NumberedBlock("output", index, block) for index, block in enumerate(self.output_blocks)),
        ]

    def _embed(
        self, c_noise: Tensor, y: Tensor, dtype: torch.dtype, hooks: UNetHooks, constants: Constants | None
    ) -> Tensor:
        sinusoid = sinusoidal_embedding(c_noise, self.config.model_channels, self.config.max_period)
        emb = hooks.embedding(self.time_embed(sinusoid.to(dtype)))
        if constants is None:
            return emb + self.label_emb(y.to(dtype))
        return emb + constants.once(self.label_emb, lambda: self.label_emb(y.to(dtype)))


def _count_rows(x: Tensor, num_frames: int) -> Tensor:
    """x, (b t) ..., unchanged. Its rows become a product: a compiler then keeps all later sizes that simple.

    Raises SVDError for rows that are not whole clips.
    """
    if len(x) % num_frames:
        raise SVDError(f"{len(x)} rows are not whole clips of {num_frames} frames; pass all frames of every clip.")
    return x.narrow(0, 0, len(x) // num_frames * num_frames)


class ForwardPass:
    """The way through the numbered blocks: the activations between them, and the skip connections that wait."""

    def __init__(self, unet: VideoUNet, x: Tensor, call: Evaluation, pieces: Pieces) -> None:
        """x: (b t) 8 h w."""
        self.unet, self.call, self.pieces = unet, call, pieces
        self.dtype, self.size = x.dtype, x.shape[-2:]
        # The other memory format costs copies in norms, which whoever asks for pieces has no memory for.
        self.h = BlockInput(laid_out(x, unet.config.model_channels) if pieces.whole else x)
        self.skips: list[Tensor] = []

    def run(self, block: NumberedBlock) -> None:
        """Run the next block, with the hooks around it."""
        hooks = self.call.hooks
        hooks.before_block(block.kind, block.index)
        if block.kind == "output":
            self._join(self.skips.pop())
        for layer in block.layers.children():
            self.h = self._run_layer(layer)
        if block.kind == "input":
            h, skip = hooks.after_input_block(self.take())
            self.h = BlockInput(h)
            self.skips.append(skip)
        elif block.kind == "middle":
            self.h = BlockInput(hooks.after_middle_block(self.take()))

    def take(self) -> Tensor:
        """The activations, (b t) c h w; there are none afterwards."""
        return self.h.take(self.pieces)

    def resume(self, h: Tensor) -> None:
        """Go on with h, (b t) c h w, which stays as it is: hooks may write into a copy of it."""
        self.h = BlockInput(h.clone() if self.call.hooks.watches_output_block() else h)

    def finish(self) -> Tensor:
        """The last norm and convolution. Returns (b t) 4 h w."""
        norm, _, conv = self.unet.out
        h = self.take()

        def convolve(rows: slice) -> Tensor:
            return conv(normalise_silu(norm, h[rows].to(self.dtype), self.call.hooks.norm_parameters))

        return collect(cut(len(h), self.pieces.frames), convolve)

    def _run_layer(self, layer: nn.Module) -> BlockInput:
        if isinstance(layer, VideoResBlock):
            return BlockInput(layer(self.h, self.call, self._pieces_at(layer.channels)))
        if isinstance(layer, SpatialVideoTransformer):
            return BlockInput(layer(self.take(), self.call, self._pieces_at(layer.channels)))
        if isinstance(layer, Upsample):
            height, width = self.skips[-1].shape[-2:]
            self.h.upsample(layer, (height, width))
            return self.h
        return BlockInput(layer(self.take()))

    def _join(self, skip: Tensor) -> None:
        if self.call.hooks.watches_output_block():
            h, skip = self.call.hooks.before_output_block(self.take(), skip)
            self.h = BlockInput(h)
        self.h.join(skip)

    def _pieces_at(self, channels: int) -> Pieces:
        (height, width), (finest_height, finest_width) = self.h.size, self.size
        area = height * width / (finest_height * finest_width)
        return self.pieces.at(channels / self.unet.config.model_channels, area)


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
