"""The samplers, on data whose probability-flow ODE has a solution in closed form.

For Gaussian data N(m, s²) the exact denoiser is D(x; σ) = m + (x - m) s² / (s² + σ²), and a solution runs through
x(σ) = m + (x(σ0) - m) √((s² + σ²) / (s² + σ0²)).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from svd_core.diffusion.noise import step_generator
from svd_core.diffusion.samplers import (
    SAMPLERS,
    Denoiser,
    Sampler,
    StepInfo,
    sample_dpmpp_2m,
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
)
from svd_core.diffusion.schedules import karras_sigmas
from svd_core.errors import SVDError

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def gaussian_denoiser(mean: float = 0.0, std: float = 1.0) -> Denoiser:
    return lambda x, sigma: mean + (x - mean) * std**2 / (std**2 + sigma**2)


def exact_solution(x: Tensor, sigma0: Tensor, sigma: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    x, sigma0, sigma = x.double(), sigma0.double(), sigma.double()
    return mean + (x - mean) * ((std**2 + sigma**2) / (std**2 + sigma0**2)).sqrt()


def error_of(sampler: Sampler, steps: int, mean: float, std: float) -> float:
    sigmas = karras_sigmas(steps + 1, sigma_min=0.1, sigma_max=20.0)[:-1]
    x = torch.tensor([3.0, -25.0])
    solved = sampler(gaussian_denoiser(mean, std), x, sigmas)
    exact = exact_solution(x, sigmas[0], sigmas[-1], mean, std)
    return float((solved - exact).norm() / exact.norm())


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.7, 0.5)])
@pytest.mark.parametrize("sampler, order", [(sample_euler, 1), (sample_heun, 2), (sample_dpmpp_2m, 2)])
def test_convergence_has_the_order_of_the_method(sampler: Sampler, order: int, mean: float, std: float):
    coarse, fine = (error_of(sampler, steps, mean, std) for steps in (40, 80))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)
    assert fine < (0.1 if order == 1 else 0.01)


@every_sampler
def test_a_run_to_zero_ends_near_the_exact_sample(name: str):
    x = 700.0 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    sigmas = karras_sigmas(200)
    options = {"eta": 0.0} if name == "euler_ancestral" else {}
    solved = SAMPLERS[name](gaussian_denoiser(), x, sigmas, **options)
    torch.testing.assert_close(solved.double(), exact_solution(x, sigmas[0], sigmas[-1]), rtol=0.03, atol=0)


@every_sampler
def test_data_of_one_point_is_reached_exactly(name: str):
    point = torch.tensor([0.5, -1.5, 2.0])
    x = point + 700.0 * torch.randn(3, generator=torch.Generator().manual_seed(0))
    solved = SAMPLERS[name](lambda x, sigma: point, x, karras_sigmas(10), generator=step_generator(0))
    torch.testing.assert_close(solved, point, rtol=0, atol=1e-5)


@every_sampler
def test_the_denoiser_gets_fp32_samples_and_levels(name: str):
    seen = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sigma)
        assert x.dtype == torch.float32 and sigma.dtype == torch.float32 and sigma.ndim == 0
        return 0.5 * x

    sigmas = karras_sigmas(6, 0.1, 10.0)
    out = SAMPLERS[name](denoise, torch.ones(2, 3, dtype=torch.float16), sigmas, generator=step_generator(1))
    assert out.dtype == torch.float32 and out.isfinite().all()
    steps = list(sigmas[:-1])
    expected = [steps[0], *(s for s in steps[1:] for _ in range(2))] if name == "heun" else steps
    assert [float(s) for s in seen] == [float(s) for s in expected]


@every_sampler
def test_the_callback_sees_every_step_before_it_is_taken(name: str):
    steps: list[StepInfo] = []
    sigmas, x = karras_sigmas(5, 0.1, 10.0), torch.full((2, 3), 4.0)
    denoise = gaussian_denoiser()
    SAMPLERS[name](denoise, x, sigmas, generator=step_generator(1), callback=steps.append)
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert {step.total for step in steps} == {5}
    assert torch.equal(steps[0].x, x)
    for step, sigma in zip(steps, sigmas[:-1], strict=True):
        assert step.sigma == sigma
        assert torch.equal(step.denoised, denoise(step.x, step.sigma))


@every_sampler
def test_a_callback_can_stop_the_run(name: str):
    calls = []

    def interrupt(step: StepInfo) -> None:
        calls.append(step.index)
        if step.index == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        SAMPLERS[name](
            gaussian_denoiser(), torch.ones(2), karras_sigmas(9), generator=step_generator(0), callback=interrupt
        )
    assert calls == [0, 1, 2]


@every_sampler
def test_runs_repeat_and_touch_neither_input_nor_global_generator(name: str):
    x, sigmas = torch.full((2, 3), 700.0), karras_sigmas(8)
    state = torch.get_rng_state()
    a, b = (SAMPLERS[name](gaussian_denoiser(), x, sigmas, generator=step_generator(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(x, torch.full((2, 3), 700.0))
    assert torch.equal(torch.get_rng_state(), state)


@every_sampler
@pytest.mark.parametrize("levels", [[], [3.0]])
def test_no_steps_change_nothing(name: str, levels: list[float]):
    x = torch.ones(3)
    assert torch.equal(SAMPLERS[name](gaussian_denoiser(), x, torch.tensor(levels)), x)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ancestral_noise_keeps_the_marginal_variance(eta: float):
    """For data at 0 the marginal at σ is N(0, σ²), and an ancestral step keeps it exactly, however long it is."""
    n = 100_000
    sigmas = torch.tensor([50.0, 20.0, 3.0, 2.0, 0.4])
    x = sigmas[0] * torch.randn(n, generator=torch.Generator().manual_seed(0))
    spread = []
    out = sample_euler_ancestral(
        lambda x, sigma: torch.zeros_like(x),
        x,
        sigmas,
        generator=step_generator(0),
        callback=lambda step: spread.append(float(step.x.std() / step.sigma)),
        eta=eta,
    )
    spread.append(float(out.std() / sigmas[-1]))
    assert spread == pytest.approx([1.0] * 5, abs=0.01)  # the standard error is 0.0022
    assert abs(torch.corrcoef(torch.stack([x, out]))[0, 1]) < (0.02 if eta == 1.0 else 0.9)


def test_ancestral_noise_has_a_strength():
    def noise_of(s_noise: float) -> Tensor:
        run = {"generator": step_generator(0), "s_noise": s_noise}
        return sample_euler_ancestral(lambda x, sigma: x, torch.zeros(50), torch.tensor([3.0, 1.0]), **run)

    torch.testing.assert_close(noise_of(0.5), 0.5 * noise_of(1.0))
    assert float(noise_of(1.0).std()) == pytest.approx(math.sqrt(8 / 9), rel=0.4)


def test_ancestral_sampling_follows_the_data():
    x = 80.0 * torch.randn(50_000, generator=torch.Generator().manual_seed(1))
    out = sample_euler_ancestral(
        gaussian_denoiser(2.0, 0.5), x, karras_sigmas(120, 0.01, 80.0), generator=step_generator(1)
    )
    assert float(out.mean()) == pytest.approx(2.0, abs=0.02)
    assert float(out.std()) == pytest.approx(0.5, rel=0.06)


def test_ancestral_sampling_depends_on_its_generator_alone():
    def run(seed: int) -> Tensor:
        return sample_euler_ancestral(
            gaussian_denoiser(), torch.ones(64), karras_sigmas(6), generator=step_generator(seed)
        )

    assert torch.equal(run(1), run(1))
    assert not torch.allclose(run(1), run(2))


def test_ancestral_sampling_without_added_noise_is_euler():
    x, sigmas = torch.full((3,), 500.0), karras_sigmas(12)
    ancestral = sample_euler_ancestral(gaussian_denoiser(), x, sigmas, eta=0.0)
    torch.testing.assert_close(ancestral, sample_euler(gaussian_denoiser(), x, sigmas))


@pytest.mark.parametrize("sampler", [sample_euler, sample_heun])
def test_churn_raises_the_noise_within_its_range(sampler: Sampler):
    """Algorithm 2: σ̂ = σ (1 + γ) and s_noise √(σ̂² - σ²) more noise, where s_tmin <= σ <= s_tmax."""
    sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0])
    steps: list[StepInfo] = []
    x = torch.zeros(200_000)
    sampler(
        lambda x, sigma: x,  # so that only churn changes the sample
        x,
        sigmas,
        generator=step_generator(3),
        callback=steps.append,
        s_churn=0.6,
        s_tmin=2.5,
        s_tmax=6.0,
        s_noise=1.1,
    )
    before = [x, *(step.x for step in steps)]
    gammas = [0.0, 0.2, 0.0]  # 0.6 over 3 steps
    for sigma, gamma, step, previous in zip(sigmas, gammas, steps, before, strict=False):
        assert float(step.sigma) == pytest.approx(float(sigma) * (1 + gamma))
        gained = 1.1 * float(sigma) * math.sqrt((1 + gamma) ** 2 - 1)
        assert float((step.x - previous).std()) == pytest.approx(gained, rel=0.01, abs=1e-6)


def test_a_churned_step_starts_from_the_raised_level():
    """The slope is taken at σ̂ and followed from there to the next level, by Euler or by Heun."""
    denoise, sigmas = gaussian_denoiser(0.7, 0.5), torch.tensor([4.0, 1.0])
    steps: list[StepInfo] = []

    def run(sampler: Sampler) -> Tensor:
        x = torch.linspace(-9, 9, 7)
        return sampler(denoise, x, sigmas, generator=step_generator(0), callback=steps.append, s_churn=0.3)

    euler, heun = run(sample_euler), run(sample_heun)
    x, raised = steps[0].x, torch.tensor(4.0 * 1.3)
    assert torch.equal(x, steps[1].x) and not torch.equal(x, torch.linspace(-9, 9, 7))
    slope = (x - denoise(x, raised)) / raised
    expected = x + slope * (1.0 - raised)
    torch.testing.assert_close(euler, expected)
    second = expected - denoise(expected, torch.tensor(1.0))
    torch.testing.assert_close(heun, x + (slope + second) / 2 * (1.0 - raised))


def test_churn_is_bounded():
    steps: list[StepInfo] = []
    sample_euler(
        gaussian_denoiser(), torch.ones(2), torch.tensor([4.0, 1.0]), generator=step_generator(0),
        callback=steps.append, s_churn=40.0,
    )  # fmt: skip
    assert float(steps[0].sigma) == pytest.approx(4.0 * math.sqrt(2.0))


@pytest.mark.parametrize("sampler, options", [(sample_euler_ancestral, {}), (sample_heun, {"s_churn": 1.0})])
def test_noise_without_a_generator_is_refused(sampler: Sampler, options: dict[str, float]):
    with pytest.raises(SVDError, match="step_generator"):
        sampler(gaussian_denoiser(), torch.ones(2), karras_sigmas(4), **options)
