"""What torch.compile finds: one graph, which clips of any length share, in the pipeline too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch._dynamo.testing import CompileCounter

from svd_core import SVDPipeline
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.core.models.test_networks import SMALL_UNET, randomised, relative, unet_inputs
from tests.support.random_checkpoint import tiny_config, write_checkpoint


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch._dynamo.reset()


def test_clips_of_any_length_share_one_graph() -> None:
    torch.manual_seed(0)
    unet, counter = randomised(VideoUNet(SMALL_UNET, Layers(dtype=torch.float64))), CompileCounter()
    compiled = torch.compile(unet, backend=counter, dynamic=True, fullgraph=True)
    with torch.no_grad():
        for num_frames in (3, 5, 7):
            inputs = unet_inputs(2, num_frames, size=(8, 4))
            assert relative(compiled(**inputs, num_frames=num_frames), unet(**inputs, num_frames=num_frames)) < 1e-12
    assert counter.frame_count == 1


def test_a_pipeline_with_a_compiled_unet(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "tiny.safetensors", tiny_config())
    pipe = SVDPipeline.from_checkpoint(path, device="cpu", dtype=torch.float64)  # in fp32 the layouts differ
    settings = {"width": 16, "height": 16, "num_inference_steps": 2, "progress": False, "output": "latent"}
    picture = Image.new("RGB", (16, 16), (200, 120, 40))
    plain = [pipe(picture, num_frames=num_frames, **settings) for num_frames in (3, 5)]
    counter = CompileCounter()
    pipe.unet.compile(backend=counter, dynamic=True, fullgraph=True)
    for num_frames, clip in zip((3, 5), plain, strict=True):
        assert relative(pipe(picture, num_frames=num_frames, **settings), clip) < 1e-6
    assert counter.frame_count == 1
