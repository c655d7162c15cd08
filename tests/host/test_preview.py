"""What the page sees while a clip is sampled: all frames, in one picture, at every step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from graphs import succeeded
from PIL import Image
from safetensors.torch import save_file

from svd_core.models.tiny_decoder import PREFIX, TinyVideoDecoder
from tools.client import Client, Prompt
from tools.host import Host
from tools.workflow import DEMO_PICTURE, load_api, with_inputs

STEPS, FRAMES, WIDTH, HEIGHT = 3, 6, 128, 64


@pytest.fixture(scope="module")
def prompt(client: Client) -> Prompt:
    return with_inputs(
        load_api(),
        SVD_Loader={"checkpoint": SMALL},
        LoadImage={"image": client.upload_image(DEMO_PICTURE)},
        SVD_VAEEncodeConditioning={"width": WIDTH, "height": HEIGHT, "video_frames": FRAMES},
        SVD_Sampler={"steps": STEPS},
    )


@pytest.fixture
def tiny_decoder(host: Host) -> Iterator[Path]:
    """TAESDV's file, with random weights."""
    path = host.base / "models" / "vae_approx" / "taesdv.safetensors"
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    tensors = {PREFIX + name: tensor for name, tensor in TinyVideoDecoder().state_dict().items()}
    save_file(tensors, path)
    yield path
    path.unlink()


def previews(client: Client, prompt: Prompt) -> list[np.ndarray]:
    run = succeeded(client.run(prompt))
    pictures = [event.picture for event in run.events if event.picture is not None]
    return [np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures]


def test_every_step_shows_every_frame(client: Client, prompt: Prompt) -> None:
    """Three columns and two rows of the latents, enlarged to the host's size of previews."""
    pictures = previews(client, prompt)
    assert len(pictures) == STEPS
    assert {picture.shape for picture in pictures} == {(round(512 * 2 * HEIGHT / (3 * WIDTH)), 512, 3)}
    assert not np.array_equal(pictures[0], pictures[-1])
    rows, columns = np.array_split(pictures[-1], 2), 3
    cells = [cell for row in rows for cell in np.array_split(row[:, : 512 // columns * columns], columns, axis=1)]
    assert len(cells) == FRAMES
    assert all(cell.std() > 5 for cell in cells)


def test_progress_counts_the_steps_of_all_clips(client: Client, prompt: Prompt) -> None:
    run = succeeded(client.run(with_inputs(prompt, SVD_Sampler={"clips": 2})))
    steps = [event.data for event in run.events if event.type == "progress" and event.data["max"] == 2 * STEPS]
    assert [step["value"] for step in steps] == list(range(1, 2 * STEPS + 1))


def test_taesdv_is_taken_where_its_file_is(client: Client, prompt: Prompt, tiny_decoder: Path) -> None:
    with_file = previews(client, prompt)
    stored = tiny_decoder.read_bytes()
    tiny_decoder.unlink()
    without = previews(client, prompt)
    tiny_decoder.write_bytes(stored)
    assert len(with_file) == len(without) == STEPS
    assert with_file[0].shape == without[0].shape
    assert np.abs(with_file[-1].astype(int) - without[-1]).mean() > 5


def test_another_file_in_its_place_ends_no_run(client: Client, host: Host, prompt: Prompt, tiny_decoder: Path) -> None:
    save_file({"decoder.1.weight": torch.zeros(1)}, tiny_decoder)
    assert len(previews(client, prompt)) == STEPS
    tiny_decoder.unlink()  # a new file: the host may still have the old one mapped
    tiny_decoder.write_bytes(b"nothing of the kind")
    assert len(previews(client, prompt)) == STEPS
    assert host.log_text().count("The preview does without models/vae_approx/taesdv.safetensors") == 2


def test_bundled_model_is_shown_in_its_own_colours(client: Client) -> None:
    """They are nearly grey; with the factors of Stable Diffusion's latents the same clip is bright blue."""
    prompt = with_inputs(
        load_api(), LoadImage={"image": client.upload_image(DEMO_PICTURE)}, SVD_Sampler={"steps": STEPS}
    )
    picture = previews(client, prompt)[-1].astype(float)  # h w 3
    assert picture.std() > 10
    assert picture.std(axis=-1).mean() < 10
