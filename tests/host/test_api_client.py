"""The example client against a real host, and how the host answers requests that are wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from tools.client import Client, HostError, Prompt
from tools.comfyui import REPOSITORY
from tools.host import Host, free_port
from tools.workflow import DEMO_PICTURE, FOLDER, load_api, node_of, with_inputs

SCRIPT = REPOSITORY / "examples" / "api_client.py"
SEEDS = FOLDER / "api" / "several_seeds.json"


def run_client(url: str, out: Path, *options: str, picture: Path = DEMO_PICTURE) -> subprocess.CompletedProcess[str]:
    """From another folder, as a copy of the file would run."""
    command = [sys.executable, str(SCRIPT), str(picture), "--server", url, "--out", str(out), *options]
    return subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=600)


def test_client_makes_a_video_and_tells_how_far_it_is(host: Host, tmp_path: Path) -> None:
    done = run_client(host.url, tmp_path / "clips", "--set", "SVD_Sampler.steps=3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("  ")] == ["  1/3", "  2/3", "  3/3"]
    assert lines.index("SVD_Sampler") < lines.index("  1/3") < lines.index("SaveVideo")
    with av.open(lines[-1]) as container:
        assert sum(1 for _ in container.decode(video=0)) == 14


def test_client_downloads_all_that_a_workflow_saves(host: Host, tmp_path: Path) -> None:
    changes = ["--set", "SVD_Sampler.steps=1", "--set", "SVD_Sampler.clips=2", "--set", "5.seed=3"]
    done = run_client(host.url, tmp_path / "clips", "--workflow", str(SEEDS), *changes)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "clips").iterdir())
    assert [name.rpartition("_0")[0] for name in names] == ["svd_seeds_picked", "svd_seeds_sheet"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("SVD_Sampler.steps=0", "SVD_Sampler.steps: Value 0 smaller than min of 1"),
        ("SVD_Loader.checkpoint=none.safetensors", "SVD_Loader.checkpoint: Value not in list"),
        ("SVD_Sampler.magic=1", "SVD_Sampler.magic=1: the workflow has no such input"),
        ("seed=1", "seed=1: the workflow has no such input"),
    ],
)
def test_client_says_which_input_is_wrong(host: Host, tmp_path: Path, change: str, words: str) -> None:
    done = run_client(host.url, tmp_path / "clips", "--set", change)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "clips").exists()


def test_client_passes_on_what_a_node_says(host: Host, tmp_path: Path) -> None:
    """Eight clips are not on the sheet of two, which only shows once they are made."""
    changes = ["--set", "SVD_Sampler.steps=1", "--set", "SVD_Sampler.clips=2", "--set", "SVD_ContactSheet.pick=8"]
    done = run_client(host.url, tmp_path / "clips", "--workflow", str(SEEDS), *changes)
    assert done.returncode == 1
    assert "SVD_ContactSheet: There are 2 clips" in done.stderr
    assert "Traceback" not in done.stderr


def test_client_without_a_server(tmp_path: Path) -> None:
    done = run_client(f"http://127.0.0.1:{free_port()}", tmp_path / "clips")
    assert done.returncode == 1
    assert "Cannot connect" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "name", "value", "error"),
    [
        ("SVD_Sampler", "steps", 0, "value_smaller_than_min"),
        ("SVD_Sampler", "steps", 1001, "value_bigger_than_max"),
        ("SVD_Sampler", "steps", "many", "invalid_input_type"),
        ("SVD_Sampler", "steps", None, "required_input_missing"),
        ("SVD_Sampler", "clips", 0, "value_smaller_than_min"),
        ("SVD_Sampler", "denoise", 1.5, "value_bigger_than_max"),
        ("SVD_Sampler", "memory", "magic", "value_not_in_list"),
        ("SVD_Sampler", "model", ["2", 0], "return_type_mismatch"),
        ("SVD_Loader", "checkpoint", "../secret.safetensors", "value_not_in_list"),
        ("SVD_VAEEncodeConditioning", "width", 16, "value_smaller_than_min"),
        ("SVD_VAEEncodeConditioning", "fps", 0, "value_smaller_than_min"),
        ("SVD_VAEEncodeConditioning", "fit", "magic", "value_not_in_list"),
        ("SVD_CLIPImageEncode", "image", None, "required_input_missing"),
        ("SVD_TemporalVAEDecode", "frames_at_once", -1, "value_smaller_than_min"),
    ],
)
def test_a_wrong_input_is_named_before_anything_runs(
    client: Client, kind: str, name: str, value: Any, error: str
) -> None:
    prompt: Prompt = with_inputs(load_api(), **{kind: {name: value}})
    node = node_of(prompt, kind)
    if value is None:
        del prompt[node]["inputs"][name]
    with pytest.raises(HostError) as refused:
        client.queue(prompt)
    assert refused.value.status == 400
    (wrong,) = refused.value.body["node_errors"][node]["errors"]
    assert wrong["type"] == error
    assert wrong["extra_info"]["input_name"] == name


def test_several_wrong_inputs_are_all_named(client: Client) -> None:
    changes = {"SVD_Sampler": {"steps": 0, "max_cfg": -1.0}, "SVD_VAEEncodeConditioning": {"fps": 0}}
    with pytest.raises(HostError) as refused:
        client.queue(with_inputs(load_api(), **changes))
    named = {
        error["extra_info"]["input_name"]
        for node in refused.value.body["node_errors"].values()
        for error in node["errors"]
    }
    assert named == {"steps", "max_cfg", "fps"}
