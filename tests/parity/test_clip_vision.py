"""The image tower against transformers' CLIPVisionModelWithProjection."""

from __future__ import annotations

import pytest
import torch

from .figures import Figures
from .models import CLIP, Models, load_ours

LIMIT = 1e-5


@pytest.mark.parametrize("layout", ["single", "comfy", "folder"])
def test_clip_vision(models: Models, figures: Figures, layout: str) -> None:
    """Official files have the open_clip layout, the host's files and folders that of transformers."""
    pixels = torch.randn(2, 3, CLIP.image_size, CLIP.image_size, generator=torch.Generator().manual_seed(4))
    encoder = models.pipeline.image_encoder
    assert encoder.config.hidden_act == "gelu"
    theirs = encoder(pixels, output_hidden_states=True)
    ours = load_ours(models.layout(layout), "clip")(pixels)
    pairs = {
        "embedding": (ours.image_embeds, theirs.image_embeds),
        "last state": (ours.last_hidden_state, theirs.last_hidden_state),
        "penultimate state": (ours.penultimate_hidden_state, theirs.hidden_states[-2]),
    }
    for what, (a, b) in pairs.items():
        figures.within(LIMIT, f"CLIP {what} / transformers, {layout} file", a, b)
