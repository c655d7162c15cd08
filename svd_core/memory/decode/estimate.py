"""Peak memory of a decode or an encode, counted while the real code runs on the meta device.

Weights are not counted, and neither is the work space that a library takes inside a convolution; ours on a CPU is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import torch

from ...config import AutoencoderConfig
from ...models.alike import skip_alike
from ...models.autoencoder import Autoencoder
from ...models.layers import Layers
from ..device import is_out_of_memory
from ..rehearsal import HOST, AllocationCounter, FusedAttention
from .buffers import Tile
from .clip import decode_in
from .plan import DecodeCall, DecodePlan
from .sweep import Workspace

_FRAMES = 4  # a clip with all kinds of tiles


@dataclass(frozen=True)
class Footprint:
    """Peak bytes, beside the weights."""

    device: int
    host: int


@lru_cache(maxsize=1024)
def decode_footprint(call: DecodeCall, plan: DecodePlan) -> Footprint:
    """Peak of `decode_clip` for one clip, beside its latents."""
    with torch.inference_mode(False), torch.no_grad():
        # The third block of a level is like the second.
        vae = _autoencoder(
            replace(call.config, num_res_blocks=min(call.config.num_res_blocks, 1)), call.dtype, call.on_cpu
        )
        z = _empty(call.dtype, call.num_frames, call.config.latent_channels, call.height, call.width)
        space = _Rehearsal(plan, call.height, z, vae.decoder.memory_format(z), is_out_of_memory)
        with AllocationCounter() as counter, FusedAttention(), skip_alike():
            decode_in(space, vae, z, call.num_frames)
    return Footprint(counter.peak["meta"], counter.peak[HOST])


def buffer_bytes(call: DecodeCall, recompute: bool) -> int:
    """Bytes of the buffers that hold a clip between its layers, which grow with the frames and their pixels alone.

    No split needs less, on the device or the host.
    """
    smallest = replace(call, height=1, width=1, num_frames=_FRAMES)
    needed = decode_footprint(smallest, DecodePlan(1, spill=True, recompute=recompute)).host
    return needed * call.height * call.width * call.num_frames // _FRAMES


@lru_cache(maxsize=64)
def encode_bytes(
    config: AutoencoderConfig,
    height: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    pictures: int = 1,
    on_cpu: bool = False,
) -> int:
    """Peak of `Autoencoder.encode`, beside the pictures given. height, width: of the latent."""
    with torch.inference_mode(False), torch.no_grad():
        vae, scale = _autoencoder(config, dtype, on_cpu), config.downscale
        pixels = _empty(dtype, pictures, config.image_channels, scale * height, scale * width)
        with AllocationCounter() as counter, FusedAttention():
            vae.encode(pixels)
    return counter.peak["meta"]


@lru_cache(maxsize=8)
def _autoencoder(config: AutoencoderConfig, dtype: torch.dtype, on_cpu: bool) -> Autoencoder:
    return Autoencoder(config, Layers(device="meta", dtype=dtype, on_cpu=on_cpu)).requires_grad_(False)


def _empty(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


class _Rehearsal(Workspace):
    """Runs only the first tiles, up to the one beside which most is alive; later ones are alike or smaller.

    The first tile allocates what it writes to, so the second sees it. Of a plan that spills, the second also has the
    store of the first and the load of the third beside it.
    """

    def cut(self, tiles: Iterable[Tile], whole: Tile, whole_rows: bool) -> list[Tile]:
        frames, rows = self.tile_size(whole, whole_rows)
        # A lone frame that is computed again needs two frames before it, so the third tile is the first that has all.
        needed = 2 + self.plan.spill + (self.plan.recompute and self.plan.frames_at_once == 1)
        if self.plan.bands > 1 and whole_rows:
            needed = 2  # each frame ends with its last band, and leaves no copy under way
        bands = islice(whole.split_rows(rows), 1 if frames < whole.frames else 2)
        return [tile for band in bands for tile in islice(band.split_frames(frames), needed)]

    def cut_rows(self, frame: Tile) -> Iterator[Tile]:
        return islice(super().cut_rows(frame), 2)  # the second has neighbours on both sides
