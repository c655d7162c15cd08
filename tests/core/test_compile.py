"""What torch.compile finds: one graph, which clips of any length share."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from svd_core.layers import Layers
from svd_core.unet import VideoUNet

from .test_networks import SMALL_UNET, randomised, relative, unet_inputs


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
