"""What the pack asks of the host and the host of the pack, read from both sources: what no longer fits is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.host_interface import find_breaks, unknown_keywords_refused
from tools.comfyui import find_comfyui


@pytest.fixture(scope="module")
def comfyui() -> Path:
    return find_comfyui()


CHANGES = {
    "comfy/sd.py": {
        "        self.vae_dtype = dtype\n": "        self.vae_dtype = self.vae_of_tomorrow = dtype\n",
        "    def vae_encode_crop_pixels(self, pixels):": "    def crop_pixels(self, pixels):",
    },
    "comfy/clip_vision.py": {
        "        self.config = config.copy()\n": "        self.config = self.clip_of_tomorrow = config.copy()\n",
        "    def encode_image(self, image, crop=True):": "    def encode_image(self, image, where, crop=True):",
    },
    "comfy/model_base.py": {
        "        self.embedder = Timestep(256)\n": "        self.embedder = self.model_of_tomorrow = Timestep(256)\n",
    },
    "comfy/model_management.py": {
        "def soft_empty_cache(": "def empty_cache_softly(",
        "def load_models_gpu(models, memory_required=0,": "def load_models_gpu(models, bytes_required=0,",
    },
    "comfy/model_patcher.py": {"    def add_patches(self, patches, ": "    def add_patches(self, patches, how, why, "},
}
SAID = (
    "vae.py: SVDVAE has no vae_of_tomorrow",
    "vae.py: SVDVAE asks for vae_encode_crop_pixels",
    "image_encoder.py: SVDClipVision has no clip_of_tomorrow",
    "image_encoder.py: SVDClipVision.encode_image is called with ['image', 'where']",
    "model.py: SVDModel has no model_of_tomorrow",
    "memory.py asks for comfy.model_management.soft_empty_cache",
    "vae.py calls comfy.model_management.load_models_gpu([self.patcher], memory_required=needed): got an unexpected",
    "a file calls comfy.model_patcher.ModelPatcher.add_patches(patches, strength): missing a required argument",
)


@pytest.fixture
def changed(comfyui: Path, tmp_path: Path) -> Path:
    """A ComfyUI made of links, with CHANGES in the place of some files."""
    for path in comfyui.iterdir():
        if path.name != "comfy":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "comfy").mkdir()
    for path in (comfyui / "comfy").iterdir():
        if f"comfy/{path.name}" not in CHANGES:
            (tmp_path / "comfy" / path.name).symlink_to(path)
    for file, changes in CHANGES.items():
        text = (comfyui / file).read_text("utf-8")
        for before, after in changes.items():
            assert before in text, f"{file} has other words in this ComfyUI"
            text = text.replace(before, after)
        (tmp_path / file).write_text(text, "utf-8")
    return tmp_path


def test_the_pack_and_this_comfyui_fit(comfyui: Path) -> None:
    assert find_breaks(comfyui) == []


def test_methods_in_the_hosts_place_take_new_keywords() -> None:
    assert unknown_keywords_refused() == []


def test_what_no_longer_fits_is_named(changed: Path) -> None:
    faults = find_breaks(changed)
    assert not [words for words in SAID if not any(fault.startswith(words) for fault in faults)], faults
