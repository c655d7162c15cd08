"""What the host's savers make of our objects, and what both loaders make of that."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import Record
from graphs import STAGES, Clip, Graph, Source, add_loader, build, relative_error, run_and_load, succeeded
from safetensors.torch import load_file

from tools.client import Client, HostError, Prompt
from tools.host import Host

CLIP = Clip()
TOLERANCE = 1e-4
SEAM = 1e-2  # what a decode frame by frame does to these weights' frames, at least
LOSSY = 0.2  # H.264 on frames that look like noise
FILM = 0.05  # what its encoder makes of rounding
FPS_OUTPUT = 3  # of VAE Encode Conditioning


def saved_checkpoint(client: Client, host: Host, source: Source, native: bool, name: str) -> Path:
    """The file that ImageOnlyCheckpointSave writes of a loaded checkpoint, where loaders find it."""
    graph = Graph()
    loader = add_loader(graph, source, native)
    parts = {"model": loader[0], "clip_vision": loader[1], "vae": loader[2]}
    graph.add("ImageOnlyCheckpointSave", filename_prefix=name, **parts)
    succeeded(client.run(graph.prompt))
    (path,) = host.output.glob(f"{name}_*.safetensors")
    return path.rename(host.checkpoints / f"{name}.safetensors")


def test_a_saved_checkpoint_in_both_loaders(client: Client, host: Host, source: Source, record: Record) -> None:
    """Every tensor, bit by bit: the file, and what either loader makes of it, saved once more."""
    saved = saved_checkpoint(client, host, source, False, "saved")
    again = {
        native: load_file(saved_checkpoint(client, host, renamed(source, saved), native, f"again_{native}"))
        for native in (False, True)
    }
    tensors = load_file(saved)
    settings = {name for name in tensors if "svd_config" in name}
    assert set(again[False]) == set(tensors)
    assert set(again[True]) == set(tensors) - settings
    for weights in again.values():
        assert not [name for name, tensor in weights.items() if not torch.equal(tensor, tensors[name])]
    note = "loaded by SVD Loader and by ImageOnlyCheckpointLoader, every tensor bit by bit"
    record("works_with", node="ImageOnlyCheckpointSave", model=0.0, note=note)


def test_a_saved_checkpoint_is_the_native_ones(client: Client, host: Host, source: Source) -> None:
    """But for the encoder: ours is the conditioner's, in which the model was trained, theirs the first stage's."""
    ours, theirs = (
        load_file(saved_checkpoint(client, host, source, native, f"of_{native}")) for native in (False, True)
    )
    shared = {name for name in theirs if ".encoder." not in name or "vision_model" in name}
    assert len(shared) > 0.8 * len(theirs) and set(theirs) <= set(ours)
    assert not [name for name in shared if not torch.equal(ours[name], theirs[name])]


def renamed(source: Source, checkpoint: Path) -> Source:
    native = {**source.native_loader, "checkpoint": checkpoint.name}
    return replace(source, checkpoint=checkpoint.name, native_loader=native)


@pytest.mark.parametrize("native", [False, True])
def test_checkpoint_save_asks_for_a_text_encoder(client: Client, source: Source, record: Record, native: bool) -> None:
    """CheckpointSave has a required CLIP socket, and there is no text encoder in Stable Video Diffusion."""
    graph = Graph()
    loader = add_loader(graph, source, native)
    graph.add("CheckpointSave", model=loader[0], vae=loader[2], filename_prefix="never")
    with pytest.raises(HostError) as refused:
        client.queue(graph.prompt)
    errors = [error for node in refused.value.body["node_errors"].values() for error in node["errors"]]
    assert [(error["type"], error["details"]) for error in errors] == [("required_input_missing", "clip")]
    if native:
        record("works_with", node="CheckpointSave", note="with neither model: it asks for a text encoder")


def test_latents_saved_and_loaded(client: Client, host: Host, source: Source, record: Record) -> None:
    prompt = build(source, CLIP, name="sampled")
    graph = Graph(prompt)
    (sampler,) = (name for name, node in prompt.items() if node["class_type"] == "SVD_Sampler")
    graph.add("SaveLatent", samples=[sampler, 0], filename_prefix="swap")
    sampled = run_and_load(client, host.output, prompt)
    (saved,) = host.output.glob("swap_*.latent")
    shutil.copy(saved, host.base / "input" / "swap.latent")
    graph = Graph()
    loader = add_loader(graph, source, native=False)
    latents = graph.add("LoadLatent", latent="swap.latent")
    frames = graph.add("SVD_TemporalVAEDecode", samples=latents[0], vae=loader[2], frames_at_once=0)
    graph.add("TestSaveTensors", name="loaded", latent=latents[0], image=frames[0])
    loaded = run_and_load(client, host.output, graph.prompt)
    error = relative_error(loaded["latent"], sampled["latent"])
    record("works_with", node="SaveLatent, LoadLatent", sampler=error)
    assert torch.equal(loaded["latent"], sampled["latent"])
    assert relative_error(loaded["image"], sampled["image"]) <= 1e-5


def test_tiled_decode_is_the_whole_one(client: Client, host: Host, source: Source, record: Record) -> None:
    """The native decode in tiles takes frames one by one, which ours does not."""
    tiles = {"tile_size": 64, "overlap": 16, "temporal_size": 8, "temporal_overlap": 4}
    frames: dict[str, torch.Tensor] = {}
    for name, native, tiled in (("whole", True, False), ("native", True, True), ("ours", False, True)):
        prompt = build(source, CLIP, ("loader", "decode") if native else ("decode",), name="tiled")
        if tiled:
            (decode,) = (node for node in prompt.values() if node["class_type"] == "VAEDecode")
            decode["class_type"] = "VAEDecodeTiled"
            decode["inputs"] |= tiles
        frames[name] = run_and_load(client, host.output, prompt)["image"]
    flicker, error = (relative_error(frames[name], frames["whole"]) for name in ("native", "ours"))
    print("tiled", {"native": flicker, "ours": error})
    note = f"decodes the whole clip; ComfyUI's own changes its frames by {flicker:.0%}"
    record("works_with", node="VAEDecodeTiled", model=error, note=note)
    assert error <= TOLERANCE
    assert flicker > SEAM


def test_the_hosts_video_nodes(client: Client, host: Host, source: Source, record: Record, tmp_path: Path) -> None:
    """The film of our graph, at the speed its conditioning names, is the film of the native graph."""
    ours, fps, shown = film(client, host, build(source, CLIP, name="filmed"), tmp_path)
    native, _, _ = film(client, host, build(source, CLIP, STAGES, name="filmed"), tmp_path, CLIP.fps)
    error, lost, reversed_ = (relative_error(ours, other) for other in (native, shown, shown.flip(0)))
    print("film", {"error": error, "lost": lost, "reversed": reversed_})
    record("works_with", node="CreateVideo, SaveVideo", note="the fps output sets the speed")
    assert fps == CLIP.fps
    assert error <= FILM
    assert lost <= LOSSY and reversed_ > 2 * lost


def film(
    client: Client, host: Host, prompt: Prompt, folder: Path, fps: int | None = None
) -> tuple[torch.Tensor, Fraction, torch.Tensor]:
    """Frames and speed of the saved video, and the frames it was made of. fps: by default the graph's own output."""
    graph = Graph(prompt)
    (save,) = (node for node in prompt.values() if node["class_type"] == "TestSaveTensors")
    rate = [save["inputs"]["conditioning"][0], FPS_OUTPUT] if fps is None else float(fps)
    video = graph.add("CreateVideo", images=save["inputs"]["image"], fps=rate)
    saved = graph.add("SaveVideo", video=video[0], filename_prefix="filmed", format="auto", codec="auto")
    run = succeeded(client.run(prompt))
    (file,) = run.files(saved.id)
    with av.open(str(client.download(file, folder))) as container:
        average = container.streams.video[0].average_rate
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    shown = load_file(host.output / f"{save['inputs']['name']}.safetensors")["image"]
    return torch.from_numpy(frames).float() / 255.0, average, shown.clone()
