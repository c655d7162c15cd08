"""The example workflow, start to end, in a real host."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from conftest import SMALL
from graphs import relative_error, run_and_load, succeeded

from tools.client import Client, Event, Prompt
from tools.host import Host
from tools.workflow import PICTURE, load_api, node_of, with_inputs

WIDTH, HEIGHT, FRAMES, STEPS = 128, 64, 4, 3
SLOW_STEPS = 60
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def workflow(client: Client) -> Prompt:
    """The example at a size that suits two slow cores."""
    return with_inputs(
        load_api(),
        SVD_Loader={"checkpoint": SMALL},
        LoadImage={"image": client.upload_image(PICTURE)},
        SVD_VAEEncodeConditioning={"width": WIDTH, "height": HEIGHT, "video_frames": FRAMES, "fps": 9},
        SVD_Sampler={"steps": STEPS},
    )


def test_example_makes_a_video(client: Client, workflow: Prompt, tmp_path: Path) -> None:
    run = succeeded(client.run(workflow))
    (file,) = run.files(node_of(workflow, "SaveVideo"))
    path = client.download(file, tmp_path)
    assert path.suffix == ".mp4"
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == FRAMES
    assert {frame.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert stream.average_rate == Fraction(9)


@pytest.mark.parametrize("weight_dtype", ["fp32", "fp16", "bf16", "fp8_e4m3fn"])
def test_every_weight_dtype_runs(client: Client, workflow: Prompt, weight_dtype: str) -> None:
    succeeded(client.run(with_inputs(workflow, SVD_Loader={"weight_dtype": weight_dtype})))


def test_sampling_reports_every_step_and_a_preview(client: Client, workflow: Prompt) -> None:
    run = succeeded(client.run(workflow))
    sampler = node_of(workflow, "SVD_Sampler")
    steps = [event.data for event in run.events if event.type == "progress" and event.data["node"] == sampler]
    assert steps[-1]["value"] == steps[-1]["max"] == STEPS
    assert any(event.type == "binary" for event in run.events)


def test_same_seed_same_clip(client: Client, host: Host, workflow: Prompt) -> None:
    """Up to rounding: the host's CPU attention cuts its work by free memory, and the video encoder by its threads."""
    saving = {
        "name": "seeded",
        "latent": [node_of(workflow, "SVD_Sampler"), 0],
        "image": [node_of(workflow, "SVD_TemporalVAEDecode"), 0],
    }
    prompt = {**workflow, "save": {"class_type": "TestSaveTensors", "inputs": saving, "_meta": {"title": "save"}}}
    first, second = (run_and_load(client, host.output, prompt) for _ in range(2))
    other = run_and_load(client, host.output, with_inputs(prompt, SVD_Sampler={"seed": 1}))
    for name in ("latent", "image"):
        assert relative_error(second[name], first[name]) < ROUNDING
        assert relative_error(other[name], first[name]) > 0.01


def test_interruption_stops_within_a_step(client: Client, workflow: Prompt) -> None:
    slow = with_inputs(
        workflow,
        SVD_VAEEncodeConditioning={"width": 256, "height": 192, "video_frames": 8},
        SVD_Sampler={"steps": SLOW_STEPS},
    )
    steps: list[int] = []
    at_interrupt: list[int] = []

    def interrupt_after_two(event: Event) -> None:
        if event.type == "progress" and event.data["max"] == SLOW_STEPS:
            steps.append(event.data["value"])
            if steps[-1] >= 2 and not at_interrupt:
                client.interrupt()
                at_interrupt.append(steps[-1])

    run = client.run(slow, interrupt_after_two)
    assert run.status == "interrupted"
    assert steps[-1] <= at_interrupt[0] + 1
    succeeded(client.run(workflow))
