"""torch.compile makes one graph of the UNet, which clips of any length share, inside a pipeline too."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch._dynamo.testing import CompileCounter

from svd_core import SVDPipeline
from tests.core.models.test_networks import relative
from tests.support.random_checkpoint import tiny_config, write_checkpoint


def test_clips_of_any_length_share_one_graph(tmp_path: Path) -> None:
    torch._dynamo.reset()
    path = write_checkpoint(tmp_path / "tiny.safetensors", tiny_config())
    pipe = SVDPipeline.from_checkpoint(path, device="cpu", dtype=torch.float64)  # in fp32 the layouts differ
    settings = {"width": 16, "height": 16, "num_inference_steps": 2, "progress": False, "output": "latent"}
    picture, lengths = Image.new("RGB", (16, 16), (200, 120, 40)), (3, 5, 7)
    plain = [pipe(picture, num_frames=num_frames, **settings) for num_frames in lengths]
    counter = CompileCounter()
    pipe.unet.compile(backend=counter, dynamic=True, fullgraph=True)
    for num_frames, clip in zip(lengths, plain, strict=True):
        assert relative(pipe(picture, num_frames=num_frames, **settings), clip) < 1e-7
    assert counter.frame_count == 1
