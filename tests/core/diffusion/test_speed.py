"""The modes of `speed`: what each leaves out, how far that is from the exact clip, and that nothing of it stays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from svd_core import DEMO_CHECKPOINT, SVDError, SVDPipeline
from svd_core.config import UNetConfig
from svd_core.diffusion import step_cache
from svd_core.diffusion.samplers import StepInfo
from svd_core.diffusion.speed import MODES, SpeedMode, speed_mode
from svd_core.diffusion.step_cache import StepCache
from svd_core.memory.activations import UNetCall, unet_bytes
from svd_core.memory.rehearsal import AllocationCounter
from svd_core.models.layers import Layers
from svd_core.models.pieces import ALL, Pieces
from svd_core.models.unet.hooks import UNetHooks
from svd_core.models.unet.unet import VideoUNet
from svd_core.pipeline import pipeline
from tests.core.models.test_networks import SMALL_UNET, randomised, relative, unet_inputs
from tests.core.pipeline.test_pipeline import PICTURE
from tests.core.pipeline.test_pipeline import SETTINGS as SMALL
from tests.support.random_checkpoint import tiny_config, write_checkpoint
from tools.workflow import PICTURE as COMET

# Relative L2 of the bundled model's latents; two clips of different seeds are some 0.3 apart.
BALANCED_ERROR, FASTEST_ERROR = 0.03, 0.08
# The same with random weights, where different seeds are 1.1 apart.
TINY_FASTEST_ERROR = 0.15
EVERY_OTHER = SpeedMode(reuses=1, change=math.inf)
STEPS = 10
SETTINGS: dict[str, Any] = {"num_inference_steps": STEPS, "progress": False, "output": "latent"}
TINY: dict[str, Any] = SMALL | SETTINGS


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    torch.manual_seed(0)
    return randomised(VideoUNet(SMALL_UNET, Layers(dtype=torch.float32)))


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> SVDPipeline:
    path = write_checkpoint(tmp_path_factory.mktemp("speed") / "tiny.safetensors", tiny_config())
    return SVDPipeline.from_checkpoint(path, device="cpu")


@pytest.fixture(scope="module")
def bundled() -> SVDPipeline:
    return SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu")


@pytest.fixture(scope="module")
def exact(bundled: SVDPipeline) -> Tensor:
    return bundled(Image.open(COMET), **SETTINGS)


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> list[StepCache]:
    """Those of the runs to come."""
    made: list[StepCache] = []

    class Noted(StepCache):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(pipeline, "StepCache", Noted)
    return made


class Counter:
    """Counts the forward passes of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.rows: list[int] = []
        self.handle = module.register_forward_hook(lambda _, __, out: self.rows.append(len(out)))

    def __enter__(self) -> list[int]:
        return self.rows

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def inputs(seed: int = 0) -> dict[str, Any]:
    given: dict[str, Any] = {name: value.float() for name, value in unet_inputs().items()}
    return given | {"num_frames": 3, "x": given["x"] + 0.1 * seed}


# --- the modes -----------------------------------------------------------------------------------------------------


def test_exact_leaves_nothing_out() -> None:
    scale, mode = torch.linspace(1, 3, 5), MODES["exact"]
    assert all(mode.scale_at(sigma, scale) is scale for sigma in (1e-9, 0.5, 1e9))
    assert StepCache(mode).features("cond") is None and StepCache(mode).branches == 0


def test_guidance_is_one_outside_the_interval() -> None:
    mode, scale = SpeedMode(guide_above=0.5, guide_up_to=20.0), torch.linspace(1, 3, 5)
    guided = [mode.scale_at(sigma, scale).equal(scale) for sigma in (20.1, 20.0, 0.6, 0.5)]
    assert guided == [False, True, True, False]
    assert mode.scale_at(30.0, scale).equal(torch.ones(5))


def test_unknown_speed(pipe: SVDPipeline) -> None:
    with pytest.raises(SVDError, match=r"'warp'.*exact, balanced, fastest"):
        speed_mode("warp")
    with pytest.raises(SVDError, match="'warp'"):
        pipe(PICTURE, **TINY, speed="warp")  # type: ignore[arg-type]


# --- the step cache in the UNet ------------------------------------------------------------------------------------


@pytest.fixture
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.usefixtures("without_gradients")
def test_full_evaluation_and_one_recalled_for_the_same_input_are_exact(unet: VideoUNet) -> None:
    cache, wanted = StepCache(EVERY_OTHER), unet(**inputs())
    assert torch.equal(unet(**inputs(), features=cache.features("cond")), wanted)
    assert torch.equal(unet(**inputs(), features=cache.features("cond")), wanted)
    assert (cache.full, cache.reused) == (1, 1)


@pytest.mark.usefixtures("without_gradients")
def test_recalled_features_are_those_of_before_and_the_outer_blocks_see_the_new_input(unet: VideoUNet) -> None:
    cache = StepCache(EVERY_OTHER)
    before = unet(**inputs(), features=cache.features("cond"))
    recalled, exact = unet(**inputs(1), features=cache.features("cond")), unet(**inputs(1))
    assert 0 < relative(recalled, exact) < relative(before, exact)


@pytest.mark.usefixtures("without_gradients")
def test_every_other_evaluation_runs_the_outer_blocks_alone(unet: VideoUNet) -> None:
    cache = StepCache(EVERY_OTHER)
    last = unet.output_blocks[-1][0]
    with Counter(unet.middle_block[0]) as middle, Counter(unet.output_blocks[0][0]) as deep, Counter(last) as outer:
        for seed in range(5):
            unet(**inputs(seed), features=cache.features("cond"))
    assert (len(middle), len(deep), len(outer)) == (3, 3, 5)
    assert (cache.full, cache.reused) == (3, 2)


@pytest.mark.usefixtures("without_gradients")
def test_input_that_has_changed_too_much_is_evaluated_in_full(unet: VideoUNet) -> None:
    step = relative(inputs(1)["x"][:, :4], inputs()["x"][:, :4])
    for change, full in ((0.9 * step, 4), (1.1 * step, 2), (3.3 * step, 1)):
        cache = StepCache(SpeedMode(reuses=99, change=change))
        for seed in range(4):
            unet(**inputs(seed), features=cache.features("cond"))
        assert cache.full == full, change


@pytest.mark.usefixtures("without_gradients")
def test_branches_have_features_of_their_own(unet: VideoUNet) -> None:
    cache = StepCache(EVERY_OTHER)
    other = inputs() | {"context": inputs()["context"] + 1.0}
    for branch, given in (("cond", inputs()), ("uncond", other)) * 2:
        assert torch.equal(unet(**given, features=cache.features(branch)), unet(**given))
    assert (cache.full, cache.reused) == (2, 2)


@pytest.mark.usefixtures("without_gradients")
def test_patches_that_write_into_what_they_are_handed(unet: VideoUNet) -> None:
    class Writing(UNetHooks):
        def before_output_block(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
            return h.mul_(1.3), skip

    cache, wanted = StepCache(SpeedMode(reuses=9, change=math.inf)), unet(**inputs(), hooks=Writing())
    for _ in range(3):
        assert torch.equal(unet(**inputs(), hooks=Writing(), features=cache.features("cond")), wanted)


@pytest.mark.parametrize("pieces", [ALL, Pieces(2, 100, 200)], ids=["whole", "pieces"])
def test_planned_memory_holds_the_features_of_both_branches(pieces: Pieces) -> None:
    config, call = UNetConfig(model_channels=64, num_res_blocks=1, head_dim=32), UNetCall(16, 24, 5, torch.bfloat16)
    unet, cache = VideoUNet(config, Layers(dtype=call.dtype)), StepCache(EVERY_OTHER)
    x, context, y = (torch.randn(shape, dtype=call.dtype) for shape in ((5, 8, 16, 24), (5, 1, 1024), (1, 768)))
    with torch.no_grad(), AllocationCounter() as counter:
        for branch in ("uncond", "cond") * 2:
            unet(x.clone(), torch.zeros(1), context, y, 5, pieces=pieces, features=cache.features(branch))
    planned = unet_bytes(config, replace(call, kept=2), pieces)
    assert planned == pytest.approx(max(counter.peak.values()), rel=0.01)
    assert planned > unet_bytes(config, call, pieces)


# --- in a run ------------------------------------------------------------------------------------------------------


def test_balanced_guides_at_some_steps_only(bundled: SVDPipeline, exact: Tensor) -> None:
    with Counter(bundled.unet) as frames:
        balanced = bundled(Image.open(COMET), **SETTINGS, speed="balanced")
    assert len(frames) == STEPS and 2 <= frames.count(28) < STEPS // 2
    assert 0 < relative(balanced, exact) < BALANCED_ERROR


def test_fastest_runs_the_deep_blocks_less_often(bundled: SVDPipeline, exact: Tensor, caches: list[StepCache]) -> None:
    with Counter(bundled.unet.middle_block[0]) as deep, Counter(bundled.unet.out[2]) as outer:
        fastest = bundled(Image.open(COMET), **SETTINGS, speed="fastest")
    assert len(outer) == STEPS and STEPS / 3 < len(deep) < STEPS
    assert (caches[0].full, caches[0].full + caches[0].reused) == (len(deep), STEPS)
    assert 0 < relative(fastest, exact) < FASTEST_ERROR


def test_second_run_is_the_first_and_nothing_stays(pipe: SVDPipeline, caches: list[StepCache]) -> None:
    first, second = (pipe(PICTURE, **TINY, speed="fastest") for _ in range(2))
    assert torch.equal(first, second)
    assert len(caches) == 2 and all(cache.is_empty for cache in caches)


def test_cancelled_run_leaves_nothing(pipe: SVDPipeline, caches: list[StepCache]) -> None:
    def cancel(step: StepInfo) -> None:
        if step.index == 2:
            assert not caches[0].is_empty
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(PICTURE, **TINY, speed="fastest", callback=cancel)
    assert caches[0].is_empty


def test_each_clip_of_several_is_what_it_is_alone(pipe: SVDPipeline) -> None:
    few = TINY | {"num_inference_steps": 5, "speed": "fastest"}
    together = pipe.animate_all([PICTURE, PICTURE.rotate(90)], seed=5, **few)
    assert torch.equal(together[1], pipe(PICTURE.rotate(90), seed=6, **few))


def test_clip_in_pieces_is_the_same_clip(pipe: SVDPipeline, caches: list[StepCache]) -> None:
    whole, in_pieces = (pipe(PICTURE, **TINY, speed="fastest", memory=way) for way in ("fastest", "smallest"))
    assert relative(in_pieces, whole) < 1e-4  # rounding, over all steps; without features it is some hundredths
    assert caches[1].reused > 0


def test_running_out_of_memory_does_not_show_in_the_clip(
    pipe: SVDPipeline, caches: list[StepCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation that is repeated in pieces recalls what it recalled before."""
    few = TINY | {"num_inference_steps": 8, "speed": "fastest"}
    whole, forward, calls = pipe(PICTURE, **few), pipe.unet.forward, []

    def short(*arguments: Any, **rest: Any) -> Tensor:
        calls.append(rest["pieces"])
        result = forward(*arguments, **rest)
        if len(calls) == 6:
            raise torch.OutOfMemoryError("out of memory")
        return result

    monkeypatch.setattr(pipe.unet, "forward", short)
    again = pipe(PICTURE, **few)
    assert calls[5].whole and not calls[6].whole
    assert relative(again, whole) < 1e-4
    assert caches[1].reused == caches[0].reused > 0


def test_branches_that_run_apart(pipe: SVDPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory decides on that, and memory must not show in the clip."""
    together = pipe(PICTURE, **TINY, speed="fastest")
    monkeypatch.setattr("svd_core.memory.sampling.SamplingMemory.clips_at_once", lambda *_: 1)
    assert relative(pipe(PICTURE, **TINY, speed="fastest"), together) < 1e-4


@pytest.mark.parametrize(
    "settings",
    [{"sampler": "heun"}, {"sampler": "euler_ancestral"}, {"schedule": "align your steps"}],
    ids=str,
)
def test_with_other_samplers(pipe: SVDPipeline, settings: dict[str, Any]) -> None:
    few = TINY | {"num_inference_steps": 6} | settings
    assert 0 < relative(pipe(PICTURE, **few, speed="fastest"), pipe(PICTURE, **few)) < TINY_FASTEST_ERROR


def test_video_to_video(pipe: SVDPipeline) -> None:
    given = TINY | {"num_inference_steps": 6, "input_video": [PICTURE] * 3, "denoising_strength": 0.6}
    assert 0 < relative(pipe(PICTURE, **given, speed="fastest"), pipe(PICTURE, **given)) < TINY_FASTEST_ERROR


# --- memory that runs out --------------------------------------------------------------------------------------------


def test_features_stay_while_the_evaluation_that_asks_for_them_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory may run out in the comparison itself; the evaluation then goes on as it would have."""
    cache, noisy = StepCache(MODES["fastest"]), torch.randn(2, 4, 3, 3)
    cache.keep("cond", noisy, torch.ones(2))
    features, compare = cache.features("cond"), step_cache.relative_change
    assert features is not None

    def run_out(*_: Tensor) -> float:
        raise torch.cuda.OutOfMemoryError("no memory")

    monkeypatch.setattr(step_cache, "relative_change", run_out)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        features.recall(noisy)
    monkeypatch.setattr(step_cache, "relative_change", compare)
    assert features.recall(noisy) is not None and cache.reused == 1
