"""A clip by the nodes, from the picture to its frames, where kornia is there and of no use.

    python kornia_process.py COMFYUI

See `pack_in_host.py`. Prints the shape of the frames, and what SVD Colour Match says of them, as JSON.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType

import torch
from pack_in_host import start


def main(comfyui: str) -> None:
    start(comfyui)
    sys.modules["kornia"] = ModuleType("kornia")
    from pack_as_the_host_loads_it.nodes import (
        SVDCLIPImageEncode,
        SVDColourMatch,
        SVDLoader,
        SVDSampler,
        SVDTemporalVAEDecode,
        SVDVAEEncodeConditioning,
    )
    from pack_as_the_host_loads_it.nodes.host.folders import BUNDLED
    from pack_as_the_host_loads_it.svd_core import SVDError

    with torch.inference_mode():
        picture = torch.rand(1, 80, 120, 3)  # not of CLIP's size, so that it is resampled
        model, clip_vision, vae = SVDLoader.execute(BUNDLED, "auto").args
        (embedding,) = SVDCLIPImageEncode.execute(clip_vision, picture, "squash").args
        micro = {"video_frames": 2, "motion_bucket_id": 127, "fps": 7, "augmentation_level": 0.02, "seed": 0}
        positive, negative, latent, _ = SVDVAEEncodeConditioning.execute(
            vae, picture, embedding, width=64, height=64, fit="crop", **micro
        ).args
        settings = ("linear", "euler", "karras", 1.0)  # guidance, sampler, schedule, denoise
        (samples,) = SVDSampler.execute(model, positive, negative, latent, 0, 1, 1.0, 1.5, *settings).args
        (frames,) = SVDTemporalVAEDecode.execute(vae, samples, 0).args
        try:
            said = str(SVDColourMatch.execute(frames, picture, 1.0))
        except SVDError as error:
            said = str(error)
    print(json.dumps({"frames": list(frames.shape), "finite": bool(frames.isfinite().all()), "colour match": said}))


if __name__ == "__main__":
    main(*sys.argv[1:])
