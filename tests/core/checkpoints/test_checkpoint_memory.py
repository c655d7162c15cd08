"""Reading costs little more memory than what stays, and leaves alone what is not used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from svd_core.checkpoints import load_weights, open_checkpoint
from svd_core.checkpoints.stream import SafetensorsFile
from svd_core.config import ModelConfig, UNetConfig
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet
from tests.support.official_file import inventory
from tests.support.random_checkpoint import tiny_config, write_checkpoint
from tests.support.safetensors_files import write_hollow

ROOT = Path(__file__).parents[3]
MEDIUM = UNetConfig(model_channels=96, head_dim=32, context_dim=256)  # 137 M parameters

MEASURE = """
import json, sys
import torch
from svd_core.checkpoints import load_weights, open_checkpoint
from svd_core.models.layers import Layers
from svd_core.models.unet.unet import VideoUNet

def kilobytes(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))

torch.set_num_threads(1)
checkpoint = open_checkpoint(sys.argv[1])
module = VideoUNet(checkpoint.config.unet, Layers(device="meta"))
torch.ones(2 ** 22).half().sum()  # the libraries' own buffers
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the peak so far
before = kilobytes("VmRSS")
load_weights(module, checkpoint, "unet", getattr(torch, sys.argv[2], None))
loaded = kilobytes("VmRSS")
sum(float(parameter.sum()) for parameter in module.parameters())  # touch every weight
resident = sum(parameter.nbytes for parameter in module.parameters()) // 1024
peak = kilobytes("VmHWM")
print(json.dumps({"resident": resident, "loaded": loaded - before, "peak": peak - before}))
"""


@pytest.fixture(scope="module")
def medium_files(tmp_path_factory) -> dict[torch.dtype, Path]:
    folder = tmp_path_factory.mktemp("medium")
    shapes = inventory(ModelConfig(MEDIUM, None, None))
    metadata = {"svd_config": json.dumps({"unet": {"head_dim": MEDIUM.head_dim}})}
    paths = {
        dtype: folder / f"{str(dtype).removeprefix('torch.')}.safetensors" for dtype in (torch.float16, torch.float32)
    }
    for dtype, path in paths.items():
        write_hollow(path, shapes, dtype, metadata)
    return paths


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of peak memory")
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [(torch.float16, "None"), (torch.float16, "float32"), (torch.float32, "float16"), (torch.float16, "bfloat16")],
)
def test_peak_memory_is_within_15_percent_of_what_stays(medium_files, stored, wanted):
    command = [sys.executable, "-c", MEASURE, str(medium_files[stored]), wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["resident"] > 250_000  # large enough to measure
    assert figures["peak"] <= 1.15 * figures["resident"], figures
    if wanted == "None":
        assert figures["loaded"] <= 0.25 * figures["resident"], "mapped weights cost little until they are used"


class Recorder:
    """Opens files, and remembers what was read from them."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.opened: list[Path] = []

    def __call__(self, path: Path) -> Mapping[str, Tensor]:
        self.opened.append(path)
        return _Recorded(path, self.read)


class _Recorded(SafetensorsFile):
    def __init__(self, path: Path, read: list[str]) -> None:
        super().__init__(path)
        self.read = read

    def __getitem__(self, name: str) -> Tensor:
        self.read.append(name)
        return super().__getitem__(name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", tiny_config())


def test_opening_reads_no_weights(tiny):
    recorder = Recorder()
    checkpoint = open_checkpoint(tiny, open_file=recorder)
    checkpoint.parameters_of("unet"), checkpoint.dtype("vae")
    assert not recorder.opened


def test_unused_tensors_are_never_read(tiny):
    recorder = Recorder()
    checkpoint = open_checkpoint(tiny, open_file=recorder)
    for part in ("unet", "vae", "clip"):
        list(checkpoint.read(part, torch.float32))
    unused = set(checkpoint.open_file(tiny)) - set(recorder.read)
    assert "conditioner.embedders.0.open_clip.model.token_embedding.weight" in unused
    assert "conditioner.embedders.3.encoder.decoder.conv_in.weight" in unused
    assert "first_stage_model.encoder.conv_in.weight" in unused
    planned = {
        ref.name
        for part in ("unet", "vae", "clip")
        for e in checkpoint.parameters_of(part).values()
        for ref in e.sources
    }
    assert set(recorder.read) == planned


def test_only_the_asked_part_is_read(tiny):
    recorder = Recorder()
    list(open_checkpoint(tiny, open_file=recorder).read("clip"))
    assert all(".visual." in name for name in recorder.read)


def test_a_refused_module_reads_nothing(tiny):
    recorder = Recorder()
    checkpoint = open_checkpoint(tiny, open_file=recorder)
    module = VideoUNet(UNetConfig(model_channels=64), Layers(device="meta"))
    with pytest.raises(ValueError, match=r"tiny\.safetensors"):
        load_weights(module, checkpoint, "unet")
    assert not recorder.opened


def test_views_share_the_mapping_and_conversions_do_not(tiny):
    files: list[dict[str, Tensor]] = []

    def open_file(path: Path) -> dict[str, Tensor]:
        files.append(dict(SafetensorsFile(path)))
        return files[-1]

    checkpoint = open_checkpoint(tiny, open_file=open_file)
    name = "model.diffusion_model.out.2.weight"
    views = dict(checkpoint.read("unet"))
    assert len(files) == 1
    assert views["out.2.weight"].data_ptr() == files[0][name].data_ptr()
    copies = dict(checkpoint.read("unet", torch.float32))
    assert copies["out.2.weight"].dtype == torch.float32


def test_a_file_damaged_after_opening(tiny, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny.read_bytes())
    checkpoint = open_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is cut off: .* download the file again"):
        list(checkpoint.read("unet"))
