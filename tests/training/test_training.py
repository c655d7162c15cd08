"""The training program: the objective is the paper's, a run that was stopped goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from svd_core import SVDError
from svd_core.checkpoints import load_weights, open_checkpoint
from svd_core.diffusion import edm
from svd_core.models.image_encoder import ClipVision
from svd_core.models.layers import Layers
from training import loop
from training.__main__ import main
from training.autoencoder import decode_pictures, flicker_noise, new_autoencoder, normalise_latents, temporal_parameters
from training.data import ClipBuffer, generator_of, random_clip, random_pictures
from training.export import export
from training.loop import Training
from training.muon import Muon, orthogonal
from training.settings import DEMO, NUM_FRAMES, SIZE, NoiseSettings, StageSettings
from training.unet import edm_loss, new_denoiser, random_sigmas, v_target


def test_v_target_is_what_gives_back_x0() -> None:
    x0, x, sigma = torch.randn(5, 4), torch.randn(5, 4), torch.rand(5, 1) * 20 + 0.01
    assert torch.allclose(edm.denoised(v_target(x0, x, sigma), x, sigma.flatten()), x0, atol=1e-4)


def test_demo_takes_the_scenes_as_they_are() -> None:
    assert SIZE % DEMO.pixel_multiple == 0


def test_temporal_path_starts_as_the_identity() -> None:
    vae = new_autoencoder(0).eval()
    z = torch.randn(3, 4, 12, 12)
    with torch.no_grad():
        assert torch.allclose(vae.decode(z, num_frames=1), decode_pictures(vae.decoder, z), atol=1e-5)
        assert torch.allclose(vae.decode(z), torch.cat([vae.decode(frame) for frame in z.split(1)]), atol=1e-5)
    assert len(temporal_parameters(vae)) > 0


def test_flicker_noise_drifts_or_jumps_and_stays_bounded() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([flicker_noise(torch.Size((14, 4, 12, 12)), generator) for _ in range(100)])
    assert 0.05 < float(drawn.std()) < 0.25
    steps = drawn.diff(dim=1).std(dim=(1, 2, 3, 4)) / drawn.std(dim=(1, 2, 3, 4))
    assert float(steps.min()) < 0.6 and float(steps.max()) > 1.3  # white noise steps by 1.4 of its spread


def test_normalised_latents_have_unit_variance_and_decode_the_same() -> None:
    vae = new_autoencoder(0).eval()
    pictures = random_pictures(generator_of(1), 4)
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures), num_frames=1)
        normalise_latents(vae, 0)
        latents = vae.encode(pictures)
        assert torch.allclose(vae.decode(latents, num_frames=1), before, atol=1e-4)
    assert 0.7 < float(latents.std() * vae.config.scale_factor) < 1.4


def test_data_depends_on_its_key_alone() -> None:
    first, second, other = (random_clip(generator_of(*key)) for key in ((0, 1, 5), (0, 1, 5), (0, 1, 6)))
    assert torch.equal(first[0], second[0]) and first[1:] == second[1:]
    assert not torch.equal(first[0], other[0])


def test_loss_of_a_fresh_denoiser_is_that_of_answering_zero() -> None:
    """The last convolution starts at zero, so the loss is the variance of v: about 1."""
    vae = new_autoencoder(0).eval()
    normalise_latents(vae, 0)
    clips = ClipBuffer(vae, 0, NoiseSettings(), capacity=8).batch(0, 4)
    assert clips.latents.shape == (4, NUM_FRAMES, 4, SIZE // 8, SIZE // 8)
    with torch.no_grad():
        loss = edm_loss(new_denoiser(0), clips, NoiseSettings(), torch.Generator().manual_seed(0))
    assert 0.5 < float(loss) < 2.0


def test_sigmas_are_log_normal_and_spread_over_every_batch() -> None:
    noise, generator = NoiseSettings(), torch.Generator().manual_seed(0)
    batches = torch.stack([random_sigmas(8, noise, generator).log() for _ in range(500)])
    assert abs(float(batches.mean()) - noise.p_mean) < 0.05
    assert abs(float(batches.std()) - noise.p_std) < 0.05
    assert (batches[:, :4] < noise.p_mean).all() and (batches[:, 4:] > noise.p_mean).all()


@pytest.mark.parametrize("shape", [(3, 20, 50), (2, 50, 20), (1, 16, 16)])
def test_orthogonal_matrices_keep_their_directions(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrices)
    values = torch.linalg.svdvals(found)
    assert (values > 0.3).all() and (values < 1.3).all()
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.allclose((u.mT @ found @ v.mT).diagonal(dim1=1, dim2=2), values.mean(), atol=0.7)


def test_muon_finds_a_matrix() -> None:
    wanted = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    parameter = nn.Parameter(torch.zeros(24, 32))
    optimizer = Muon([parameter], lr=0.05)
    for _ in range(300):
        parameter.grad = parameter.detach() - wanted
        optimizer.step()
    assert float((parameter.detach() - wanted).abs().mean()) < 0.1


class Line(nn.Module):
    """Enough for both optimisers: a matrix for Muon, a vector for Adam."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(3))
        self.turn = nn.Parameter(torch.eye(16))

    def step(self, index: int) -> dict[str, Tensor]:
        x = torch.randn(16, generator=torch.Generator().manual_seed(index))
        return {"loss": ((self.slope - 2.0) * x[:3]).square().mean() + (self.turn @ x + x).square().mean()}


def trained(folder: Path, steps: int, stop_at: int | None = None) -> Training:
    line = Line()
    training = Training("line", dict(line.named_parameters()), StageSettings(steps, 1, 1e-2, 1.0, muon=True))
    assert len(training.optimizers) == 2

    def step(index: int) -> dict[str, Tensor]:
        if index == stop_at:
            raise KeyboardInterrupt
        return line.step(index)

    training.run(step, folder)
    return training


def test_a_stopped_run_ends_where_an_unbroken_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)  # after every step
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    broken.mkdir()
    unbroken.mkdir()
    with pytest.raises(KeyboardInterrupt):
        trained(broken, 60, stop_at=37)
    resumed, whole = trained(broken, 60), trained(unbroken, 60)
    for name in ("slope", "turn"):
        assert torch.equal(resumed.parameters[name], whole.parameters[name])
        assert torch.equal(resumed.averages[name], whole.averages[name])
    assert resumed.step == 60


def test_the_state_of_another_network_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, 5)
    other = Training("line", {"slope": nn.Parameter(torch.zeros(4))}, StageSettings(5, 1, 1e-2, 1.0))
    with pytest.raises(SVDError, match="another network"):
        other.load(tmp_path / "line.state.safetensors")


def test_an_interrupted_save_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path, 5)
    before = (tmp_path / "line.state.safetensors").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(loop.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        trained(tmp_path, 8)
    assert (tmp_path / "line.state.safetensors").read_bytes() == before


def test_export_reads_back_as_the_same_networks(tmp_path: Path) -> None:
    vae, networks = new_autoencoder(1), new_denoiser(1)
    path = tmp_path / "demo.safetensors"
    export(path, networks.unet, vae, networks.clip, dtype=torch.float32)
    checkpoint = open_checkpoint(path)
    assert checkpoint.config == DEMO
    clip = ClipVision(DEMO.clip, Layers(device="meta"))
    load_weights(clip, checkpoint, "clip")
    for part, module in (("unet", networks.unet), ("vae", vae), ("clip", networks.clip)):
        stored = dict(checkpoint.read(part))
        assert stored.keys() == module.state_dict().keys()
        assert all(torch.equal(stored[name], tensor) for name, tensor in module.state_dict().items())
    pixels = torch.randn(1, 3, DEMO.clip.image_size, DEMO.clip.image_size)
    assert torch.equal(clip(pixels).image_embeds, networks.clip(pixels).image_embeds)
    assert "conditioner.embedders.0.open_clip.model.visual.proj" in load_file(path)


def test_a_checkpoint_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(SystemExit, match="exists already"):
        main(["train", "--out", str(path), "--minutes", "1"])
    assert path.read_bytes() == b"precious"
