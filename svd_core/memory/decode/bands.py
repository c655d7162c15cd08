"""The per-frame layers in bands of rows, for frames too large to be on the device at once; exact all the same.

Each norm takes the moments of the whole frame, each convolution true neighbour rows, the attention all tokens. So the
layers run breadth first, as the frames do in time: a layer is done for all bands before the next one starts, and
between two layers is a buffer of one frame.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ...models.autoencoder.blocks import AttnBlock, ResnetBlock, Upsample
from ...models.autoencoder.decoder import Decoder, Layer
from ...models.kernels.group_norm import Moments, measure, normalise, scale_shift
from .buffers import ClipBuffer, Tile
from .sweep import Workspace


def decode_image_in_bands(
    space: Workspace,
    decoder: Decoder,
    steps: Sequence[tuple[Layer, ResnetBlock]],
    clip: ClipBuffer,
    frame: Tile,
    pictures: ClipBuffer,
    offset: int,
) -> None:
    """One frame of the clip through the image decoder, into `pictures` after `offset` others."""
    offset += frame.start
    for layer, block in steps:
        x = _run_layer(space, clip, frame, layer, block.norm1.num_channels)
        clip, _ = _run_block(space, block, x)
        frame = clip.whole
    head_in_bands(space, clip, frame, decoder, pictures, offset)


def spatial_in_bands(
    space: Workspace, clip: ClipBuffer, frame: Tile, layer: Layer, block: ResnetBlock, out: ClipBuffer, groups: int
) -> list[Moments]:
    """`block.spatial(layer(x))` of one frame of the clip, into the same frame of `out`; the moments of its bands."""
    x = _run_layer(space, clip, frame, layer, block.norm1.num_channels)
    if out is not clip:
        return _run_block(space, block, x, out, frame.start, groups)[1]
    # A frame that is overwritten must stay until the new one is whole, for memory may run out before.
    _, moments = _run_block(space, block, x, x, groups=groups)
    clip.copy_frame(frame.start, x)
    x.release()
    return moments


def head_in_bands(
    space: Workspace, clip: ClipBuffer, frame: Tile, decoder: Decoder, pictures: ClipBuffer, offset: int = 0
) -> None:
    """`decoder.head` of one frame of the clip, into that frame of `pictures` after `offset` others."""
    silu_norm = _find_norm(space, clip, decoder.norm_out, frame)
    for band in space.cut_rows(frame):
        x = _run_rows(lambda rows: decoder.conv_out(silu_norm(rows)), clip, band)
        pictures.write(band.later(offset), x)
    space.transfers.finish()


def _run_layer(space: Workspace, clip: ClipBuffer, frame: Tile, layer: Layer, channels: int) -> ClipBuffer:
    """The layer before a block, of one frame of the clip, into a buffer of its own."""
    scale = 2 if isinstance(layer, Upsample) else 1
    _, _, height, width = clip.shape
    x = space.buffer(1, channels, scale * height, scale * width)
    if isinstance(layer, AttnBlock):
        _attend(space, clip, frame, layer, x)
    else:
        for band in space.cut_rows(frame):
            x.write(band.scaled(scale).later(-frame.start), _run_rows(layer, clip, band, scale))
    space.transfers.finish()
    return x


def _run_block(
    space: Workspace, block: ResnetBlock, x: ClipBuffer, out: ClipBuffer | None = None, offset: int = 0, groups: int = 1
) -> tuple[ClipBuffer, list[Moments]]:
    """`block.spatial(x)` of a lone frame, into frame `offset` of `out` or a new buffer; and the moments of its bands.

    Releases x, unless it is `out`.
    """
    (norm1, conv1), (norm2, conv2) = block.norms_and_convs()
    h = space.buffer(1, norm2.num_channels, *x.shape[2:])
    silu_norm1 = _find_norm(space, x, norm1)
    for band in space.cut_rows(x.whole):
        h.write(band, _run_rows(lambda rows: conv1(silu_norm1(rows)), x, band))
    space.transfers.finish()
    silu_norm2 = _find_norm(space, h, norm2)
    out = out or space.buffer(1, *h.shape[1:])
    moments: list[Moments] = []
    for band in space.cut_rows(h.whole):
        y = _run_rows(lambda rows: conv2(silu_norm2(rows)), h, band)
        y = block.add_input(y, x.read(band).wait())
        measured = measure(y, groups)
        out.write(band.later(offset), y)
        moments += measured
    space.transfers.finish()
    h.release()
    if out is not x:
        x.release()
    return out, moments


def _run_rows(layer: Layer, source: ClipBuffer, band: Tile, scale: int = 1) -> Tensor:
    """The band's rows of a layer that sees one row more on each side."""
    seen = band.with_rows(1, source.shape[2])
    x = layer(source.read(seen).wait())
    return band.scaled(scale).rows_of(x, seen.scaled(scale))


def _find_norm(space: Workspace, source: ClipBuffer, norm: nn.GroupNorm, frame: Tile | None = None) -> Layer:
    """SiLU of `norm` with the moments of a whole frame."""
    moments: list[Moments] = []
    for band in space.cut_rows(frame or source.whole):
        moments += measure(source.read(band).wait(), norm.num_groups)
    return scale_shift(norm, moments, space.like).silu


def _attend(space: Workspace, clip: ClipBuffer, frame: Tile, attention: AttnBlock, out: ClipBuffer) -> None:
    """Queries in bands; keys and values, at the coarsest level, whole."""
    x = clip.read(frame).wait()
    h = normalise(attention.norm, x)
    keys, values = attention.keys_values(h)
    for band in space.cut_rows(frame):
        attended = attention.attend(band.rows_of(h, frame), keys, values)
        out.write(band.later(-frame.start), band.rows_of(x, frame) + attended)
