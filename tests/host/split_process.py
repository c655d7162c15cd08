"""Our MODEL under every memory choice, with the host's patches, control residuals and offloading around it.

    python split_process.py COMFYUI CHECKPOINT

See `pack_in_host.py`. Prints figures as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from pack_in_host import CPU, relative_error, start
from torch import Tensor


def main(comfyui: str, checkpoint: str) -> None:
    start(comfyui)
    from pack_as_the_host_loads_it.nodes.host.model import make_model
    from pack_as_the_host_loads_it.svd_core.checkpoints import open_checkpoint

    opened = open_checkpoint(checkpoint)
    trained = gradients(_Network(make_model(opened, None), opened.unet.context_dim))
    with torch.inference_mode():
        model = make_model(opened, None)
        network = _Network(model, opened.unet.context_dim)
        report = {f"split, {name}": network.split_error(options) for name, options in patches().items()}
        report["split, control"] = network.split_error({}, control)
        report |= out_of_memory(network) | patched_norms(model, network) | sampled(model, opened.unet.context_dim)
    report |= trained
    report["memory required"] = [model.model.memory_required([frames, 4, 72, 128]) for frames in (14, 25, 50)]
    print(json.dumps(report))


class _Network:
    """The UNet of a MODEL on one set of inputs: both guidance branches of three frames."""

    def __init__(self, model: Any, context_dim: int) -> None:
        self.unet = model.model.diffusion_model
        self.x, self.context = torch.randn(6, 8, 16, 16), torch.randn(6, 1, context_dim)
        self.y = torch.randn(6, 768)

    def run(self, choice: str, options: dict[str, Any] | None = None, control: Any = None) -> Tensor:
        from pack_as_the_host_loads_it.nodes.host.memory import RunState, make_memory
        from pack_as_the_host_loads_it.svd_core.diffusion.speed import MODES
        from pack_as_the_host_loads_it.svd_core.diffusion.step_cache import StepCache

        state = RunState(make_memory(choice, CPU), StepCache(MODES["exact"]))
        options = state.add_to({"cond_or_uncond": [0, 1], **(options or {})}, guided=True)
        rest = {"num_video_frames": 3, "transformer_options": options, "control": control}
        return self.unet(self.x, torch.zeros(6), context=self.context, y=self.y, **rest)

    def split_error(self, options: dict[str, Any], control: Callable[[], Any] = lambda: None) -> float:
        """Of "smallest" against "fastest"; -1 where the patches change nothing at all."""
        fastest = self.run("fastest", options, control())
        patched = bool(options) or control() is not None
        if patched and torch.equal(fastest, self.run("fastest")):
            return -1.0
        return relative_error(self.run("smallest", options, control()), fastest)


def patches() -> dict[str, dict[str, Any]]:
    """Patches that count rows or positions, so that a part of the clip would lead them astray."""

    def swap_branches(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        return q, torch.cat(k.chunk(len(extra["cond_or_uncond"]))[::-1]), v

    def fade_rows(x: Tensor, extra: dict[str, Any]) -> Tensor:
        return x * torch.linspace(0.5, 1.5, len(x))[:, None, None]

    def value_only(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
        return v * torch.linspace(0.5, 1.5, len(v))[:, None, None]

    def over_the_clip(h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return h - h.mean(0), skip * 0.9

    def listed(name: str, patch: Any) -> dict[str, Any]:
        return {"patches": {name: [patch]}}

    return {
        "nothing": {},
        "attn1_patch": listed("attn1_patch", swap_branches),
        "attn1_output_patch": listed("attn1_output_patch", fade_rows),
        "attn2_patch": listed("attn2_patch", lambda q, k, v, extra: (q, 1.5 * k, 1.5 * k)),
        "middle_patch": listed("middle_patch", fade_rows),
        "output_block_patch": listed("output_block_patch", over_the_clip),
        "input_block_patch": listed("input_block_patch", lambda h, options: h - h.mean(0)),
        "attn1 replaced": {"patches_replace": {"attn1": {("middle", 0): value_only}}},
        "attn2 replaced": {"patches_replace": {"attn2": {("middle", 0): lambda q, k, v, extra: 2.0 * q}}},
    }


def control() -> dict[str, list[Tensor | None]]:
    """Residuals of a control network, which an evaluation takes off the lists."""
    return {"middle": [torch.full((1, 1, 1, 1), 0.3)], "output": [torch.full((1, 1, 1, 1), 0.2), None]}


def out_of_memory(network: _Network) -> dict[str, float]:
    """Memory runs out at the end of the first attempt, by when it has used up the residuals."""
    undisturbed, calls = network.run("fastest", control=control()), []

    def fail_once(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("no memory")

    handle = network.unet.out[0].register_forward_pre_hook(fail_once)
    disturbed = network.run("fastest", control=control())
    handle.remove()
    return {"out of memory": relative_error(disturbed, undisturbed), "attempts": len(calls)}


def gradients(network: _Network) -> dict[str, bool]:
    """Training in the host runs the same network, and a split would stand in its way."""
    network.x.requires_grad_()
    network.run("smallest").square().sum().backward()
    return {"gradients": network.x.grad is not None and bool(network.x.grad.any())}


def patched_norms(model: Any, network: _Network) -> dict[str, float]:
    """Differences on temporal norms, whose weights a split reads by itself; loaded, and cast at use."""
    names = [name for name in model.model.state_dict() if "time_stack.in_layers.0" in name]
    patched = model.clone()
    patched.add_patches({name: ("diff", (torch.randn(model.model.state_dict()[name].shape),)) for name in names})
    whole = network.run("fastest")
    patched.patch_model(CPU)
    loaded, split = network.run("fastest"), network.run("smallest")
    patched.unpatch_model(CPU)
    patched.load(CPU, lowvram_model_memory=1)
    offloaded = network.run("smallest")
    patched.unpatch_model(CPU)
    return {
        "norm patch effect": relative_error(loaded, whole),
        "norm patch split": relative_error(split, loaded),
        "norm patch split and offloaded": relative_error(offloaded, loaded),
    }


def sampled(model: Any, context_dim: int) -> dict[str, Any]:
    """SVD Sampler itself; "left out" is a workflow from before the choice."""
    from pack_as_the_host_loads_it.nodes.sampler import SVDSampler

    options = {"concat_latent_image": torch.randn(1, 4, 16, 16), "motion_bucket_id": 127, "fps": 6}
    options["augmentation_level"] = 0.02
    cond = [[torch.randn(1, 1, context_dim), options]]
    latent = {"samples": torch.zeros(3, 4, 16, 16)}
    before = json.dumps(sorted(model.model_options["transformer_options"]))

    def sample(**memory: str) -> Tensor:
        rest = (0, 2, 1.0, 2.5, "linear", "euler", "karras", 1.0)
        return SVDSampler.execute(model, cond, cond, latent, *rest, **memory).result[0]["samples"]

    fastest = sample(memory="fastest")
    errors = {
        f"sampled, {choice}": relative_error(sample(memory=choice), fastest) for choice in ("automatic", "smallest")
    }
    errors["sampled, left out"] = relative_error(sample(), fastest)
    return errors | {"options untouched": before == json.dumps(sorted(model.model_options["transformer_options"]))}


if __name__ == "__main__":
    main(*sys.argv[1:])
