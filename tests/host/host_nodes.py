"""The host's own nodes around a MODEL, as steps of a graph that can be built on our model and on the native one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from graphs import STAGES, Clip, Graph, Link, Source, add_conditioning, add_loader, add_sampler

from tools.client import Prompt

OTHER = "other.safetensors"  # a second checkpoint, to merge with
LORA = "swaps.safetensors"

Kind = Literal["native", "model", "sampler"]
"""The host's graph on its own model, the same on ours, and our graph: SVD Sampler with the host's patches before it."""


@dataclass(frozen=True)
class Bench:
    """A graph under construction."""

    graph: Graph
    source: Source
    clip: Clip
    native: bool  # whose model
    conditioning: list[Link]

    def sampling_inputs(self) -> dict[str, Link]:
        return dict(zip(("positive", "negative", "latent_image"), self.conditioning, strict=True))


Step = Callable[[Bench, Link], Link]


@dataclass(frozen=True)
class Row:
    """A node of the host.

    patch, guidance: MODEL to MODEL; sampling: MODEL to LATENT. svd_sampler: what SVD Sampler is to be set to for the
    same clip, None where it has no such setting. against: the row that shows what the clip is without this node.
    note: for the table in docs/works-with.md.
    """

    node: str
    patch: Step | None = None
    guidance: Step | None = None
    sampling: Step | None = None
    svd_sampler: dict[str, Any] | None = field(default_factory=dict)
    against: str = "VideoLinearCFGGuidance"
    note: str = ""


def node(class_type: str, **inputs: Any) -> Step:
    return lambda bench, model: bench.graph.add(class_type, model=model, **inputs)[0]


def guidance(class_type: str) -> Step:
    return lambda bench, model: bench.graph.add(class_type, model=model, min_cfg=bench.clip.min_cfg)[0]


def unguided(bench: Bench, model: Link) -> Link:
    return model


LINEAR = guidance("VideoLinearCFGGuidance")


def k_sampler(bench: Bench, model: Link) -> Link:
    settings = {"seed": bench.clip.seed, "steps": bench.clip.steps, "cfg": bench.clip.max_cfg, "denoise": 1.0}
    settings |= {"sampler_name": "euler", "scheduler": "karras"}
    return bench.graph.add("KSampler", model=model, **settings, **bench.sampling_inputs())[0]


def k_sampler_in_two_parts(bench: Bench, model: Link) -> Link:
    """The first step, and the rest from what it leaves."""
    settings = {"noise_seed": bench.clip.seed, "steps": bench.clip.steps, "cfg": bench.clip.max_cfg}
    settings |= {"sampler_name": "euler", "scheduler": "karras", "model": model}
    first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 1, "return_with_leftover_noise": "enable"}
    rest = {"add_noise": "disable", "start_at_step": 1, "end_at_step": 99, "return_with_leftover_noise": "disable"}
    inputs = bench.sampling_inputs()
    for part in (first, rest):
        inputs["latent_image"] = bench.graph.add("KSamplerAdvanced", **settings, **part, **inputs)[0]
    return inputs["latent_image"]


def custom_sampler(sampler: str, schedule: Callable[[Bench, Link], Link]) -> Step:
    """SamplerCustomAdvanced with CFGGuider."""

    def sample(bench: Bench, model: Link) -> Link:
        add, (positive, negative, latents) = bench.graph.add, bench.conditioning
        guider = add("CFGGuider", model=model, positive=positive, negative=negative, cfg=bench.clip.max_cfg)
        noise = add("RandomNoise", noise_seed=bench.clip.seed)
        parts = {"noise": noise[0], "guider": guider[0], "sampler": add("KSamplerSelect", sampler_name=sampler)[0]}
        return add("SamplerCustomAdvanced", sigmas=schedule(bench, model), latent_image=latents, **parts)[0]

    return sample


def karras(bench: Bench, model: Link) -> Link:
    return bench.graph.add("BasicScheduler", model=model, scheduler="karras", steps=bench.clip.steps, denoise=1.0)[0]


def align_your_steps(bench: Bench, model: Link) -> Link:
    return bench.graph.add("AlignYourStepsScheduler", model_type="SVD", steps=bench.clip.steps, denoise=1.0)[0]


def merge(bench: Bench, model: Link) -> Link:
    """Half and half with a second checkpoint, loaded as the first one."""
    native = {**bench.source.native_loader, "checkpoint": OTHER}
    second = add_loader(bench.graph, replace(bench.source, checkpoint=OTHER, native_loader=native), bench.native)
    return bench.graph.add("ModelMergeSimple", model1=model, model2=second[0], ratio=0.5)[0]


FREE_U = {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
SHRINK = {"block_number": 3, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 0.9}
SHRINK |= {"downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic"}
TILES = {"tile_size": 32, "swap_size": 2, "max_depth": 0, "scale_depth": False}
NOISE_LEVELS = {"sampling": "v_prediction", "sigma_max": 80.0, "sigma_min": 0.02}

ROWS = (
    Row("KSampler", guidance=unguided, svd_sampler={"guidance": "constant"}),
    Row("KSamplerAdvanced", sampling=k_sampler_in_two_parts, against="KSampler"),
    Row(
        "SamplerCustomAdvanced + CFGGuider",
        sampling=custom_sampler("dpmpp_2m", karras),
        svd_sampler={"sampler": "dpmpp_2m"},
    ),
    Row(
        "AlignYourStepsScheduler",
        sampling=custom_sampler("euler", align_your_steps),
        svd_sampler={"schedule": "align your steps"},
    ),
    Row("VideoLinearCFGGuidance", against="KSampler"),
    Row(
        "VideoTriangleCFGGuidance",
        guidance=guidance("VideoTriangleCFGGuidance"),
        svd_sampler={"guidance": "triangle"},
    ),
    Row(
        "RescaleCFG",
        guidance=node("RescaleCFG", multiplier=0.7),
        svd_sampler=None,
        against="KSampler",
        note="SVD Sampler keeps its own guidance, and says so",
    ),
    Row("ModelSamplingContinuousEDM", node("ModelSamplingContinuousEDM", **NOISE_LEVELS)),
    Row("LoraLoaderModelOnly", node("LoraLoaderModelOnly", lora_name=LORA, strength_model=1.0)),
    Row("ModelMergeSimple", merge),
    Row("FreeU", node("FreeU", **FREE_U)),
    Row("FreeU_V2", node("FreeU_V2", **FREE_U)),
    Row("PatchModelAddDownscale", node("PatchModelAddDownscale", **SHRINK)),
    Row("HyperTile", node("HyperTile", **TILES)),
    Row("PerturbedAttentionGuidance", node("PerturbedAttentionGuidance", scale=3.0)),
    Row(
        "SelfAttentionGuidance",
        node("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
        note="made for images: on either model it takes attention over time for a map of the picture",
    ),
)


def host_graph(source: Source, clip: Clip, kind: Kind, row: Row, name: str) -> Prompt:
    """A graph with the row's node in it; saves its latents as `name`."""
    graph = Graph()
    native = kind == "native"
    loader = add_loader(graph, source, native)
    conditioning = add_conditioning(graph, source, loader, clip, () if kind == "sampler" else STAGES)
    bench = Bench(graph, source, clip, native, conditioning)
    model = loader[0] if row.patch is None else row.patch(bench, loader[0])
    if kind == "sampler":
        sampler = add_sampler(graph, model, conditioning, clip, native=False)
        graph.prompt[sampler.id]["inputs"] |= {"memory": "smallest", **(row.svd_sampler or {})}
        latents = sampler[0]
    else:
        latents = (row.sampling or k_sampler)(bench, (row.guidance or LINEAR)(bench, model))
    graph.add("TestSaveTensors", name=name, latent=latents)
    return graph.prompt
