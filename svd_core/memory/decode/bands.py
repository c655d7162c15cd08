"""The per-frame layers in bands of rows, for frames too large to be on the device at once; exact all the same.

Each norm takes the moments of the whole frame, each convolution true neighbour rows, the attention all tokens. So the
layers run breadth first, as the frames do in time: a layer is done for all bands before the next one starts, and what
lies between two layers is a buffer of one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from ...models.autoencoder.blocks import AttnBlock, ResnetBlock, Upsample
from ...models.autoencoder.decoder import Decoder
from ...models.kernels.group_norm import Moments, measure, scale_shift
from .clip_buffer import ClipBuffer, Tile
from .sweep import Workspace

Layer = Callable[[Tensor], Tensor]


def spatial_in_bands(
    space: Workspace,
    clip: ClipBuffer,
    frame: Tile,
    prepare: Layer,
    block: ResnetBlock,
    out: ClipBuffer | None = None,
    groups: int = 1,
) -> tuple[ClipBuffer, list[Moments]]:
    """`block.spatial(prepare(x))` of one frame of the clip, into the same frame of `out` or a buffer of its own.

    Returns that buffer, and the moments of its bands.
    """
    x = _prepared(space, clip, frame, prepare, block.norm1.num_channels)
    h = _normalised_conv(space, x, block.norm1, block.conv1, block.norm2.num_channels)
    # A frame that is overwritten must stay until the new one is whole, for memory may run out before.
    landing = x if out is clip else (out or space.buffer(1, *h.shape[1:]))
    offset = 0 if out is None or landing is x else frame.start
    silu_norm = _frame_norm(space, h, block.norm2)
    moments: list[Moments] = []
    for band in _bands(space, h.whole):
        y = _conv_rows(lambda rows: block.conv2(silu_norm(rows)), h, band)
        y += block.nin_shortcut(x.read(band).wait())
        measured = measure(y, groups)
        landing.write(band.later(offset), y)
        moments += measured
    space.transfers.finish()
    if out is clip:
        clip.copy_frame(frame.start, x)
    x.release()
    h.release()
    return out or landing, moments


def head_in_bands(
    space: Workspace, clip: ClipBuffer, frame: Tile, decoder: Decoder, pictures: ClipBuffer, offset: int = 0
) -> None:
    """`decoder.head` of one frame of the clip, into that frame of `pictures` after `offset` others."""
    silu_norm = _frame_norm(space, clip, decoder.norm_out, frame)
    for band in _bands(space, frame):
        x = _conv_rows(lambda rows: decoder.conv_out(silu_norm(rows)), clip, band)
        pictures.write(band.later(offset), x)
    space.transfers.finish()


def _bands(space: Workspace, frame: Tile) -> Iterator[Tile]:
    return frame.rows_apart(-(-(frame.bottom - frame.top) // space.plan.bands))


def _conv_rows(conv: Layer, source: ClipBuffer, band: Tile, scale: int = 1) -> Tensor:
    """The band's rows of a convolution, which sees one row more on each side."""
    seen = band.with_rows(1, source.shape[2])
    x = conv(source.read(seen).wait())
    return band.scaled(scale).rows_of(x, seen.scaled(scale))


def _frame_norm(space: Workspace, source: ClipBuffer, norm: nn.GroupNorm, frame: Tile | None = None) -> Layer:
    """`norm` with the moments of a whole frame, and SiLU."""
    moments: list[Moments] = []
    for band in _bands(space, frame or source.whole):
        moments += measure(source.read(band).wait(), norm.num_groups)
    return scale_shift(norm, moments, space.like).silu


def _prepared(space: Workspace, clip: ClipBuffer, frame: Tile, prepare: Layer, channels: int) -> ClipBuffer:
    """One frame after the layer that precedes a block, in a buffer of its own."""
    scale = 2 if isinstance(prepare, Upsample) else 1
    _, _, height, width = clip.shape
    x = space.buffer(1, channels, scale * height, scale * width)
    if isinstance(prepare, AttnBlock):
        _attend(space, clip, frame, prepare, x)
    else:
        for band in _bands(space, frame):
            x.write(band.scaled(scale).later(-frame.start), _conv_rows(prepare, clip, band, scale))
    space.transfers.finish()
    return x


def _normalised_conv(space: Workspace, x: ClipBuffer, norm: nn.GroupNorm, conv: nn.Module, channels: int) -> ClipBuffer:
    silu_norm = _frame_norm(space, x, norm)
    h = space.buffer(1, channels, *x.shape[2:])
    for band in _bands(space, x.whole):
        h.write(band, _conv_rows(lambda rows: conv(silu_norm(rows)), x, band))
    space.transfers.finish()
    return h


def _attend(space: Workspace, clip: ClipBuffer, frame: Tile, attention: AttnBlock, out: ClipBuffer) -> None:
    """Queries in bands; keys and values, at the coarsest level, whole."""
    x = clip.read(frame).wait()
    normalised = attention.norm(x)
    keys, values = attention.keys_values(normalised)
    for band in _bands(space, frame):
        gathered = attention.attend(band.rows_of(normalised, frame), keys, values)
        out.write(band.later(-frame.start), band.rows_of(x, frame) + gathered)
