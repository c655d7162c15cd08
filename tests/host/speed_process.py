"""SVD Sampler at every speed, and what is left of a run.

    python speed_process.py COMFYUI CHECKPOINT

See `pack_in_host.py`. Prints figures as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from pack_in_host import relative_error, start
from torch import Tensor

STEPS, FRAMES = 10, 3


def main(comfyui: str, checkpoint: str) -> None:
    start(comfyui)
    from pack_as_the_host_loads_it.nodes.host.model import make_model
    from pack_as_the_host_loads_it.svd_core.checkpoints import open_checkpoint

    opened = open_checkpoint(checkpoint)
    with torch.inference_mode():
        run = _Run(make_model(opened, None), opened.unet.context_dim)
        print(json.dumps(speeds(run) | ways_around(run) | interrupted(run)))


class _Run:
    """SVD Sampler on one set of inputs, with its evaluations counted."""

    def __init__(self, model: Any, context_dim: int) -> None:
        from pack_as_the_host_loads_it.nodes.host import sampling as host_sampling

        self.model, unet = model, model.model.diffusion_model
        self.embeds, self.latent = torch.randn(1, 1, context_dim), torch.randn(1, 4, 16, 16)
        self.rows: list[int] = []
        self.deep = 0
        self.caches: list[Any] = []
        unet.out[0].register_forward_hook(lambda _, __, h: self.rows.append(len(h)))
        unet.middle_block[0].register_forward_hook(self._count_deep)

        class Noted(host_sampling.StepCache):
            def __init__(noted, *arguments: Any) -> None:
                super().__init__(*arguments)
                self.caches.append(noted)

        host_sampling.StepCache = Noted

    def _count_deep(self, *_: Any) -> None:
        self.deep += 1

    def __call__(self, model: Any = None, picture: int = 0, seed: int = 0, control: Any = None, **rest: Any) -> Tensor:
        from pack_as_the_host_loads_it.nodes.sampler import SVDSampler

        options = {"motion_bucket_id": 127, "fps": 6, "augmentation_level": 0.02}
        if control is not None:
            options["control"] = control
        positive = [[self.embeds + picture, {**options, "concat_latent_image": self.latent + picture}]]
        negative = [[0 * self.embeds, {**options, "concat_latent_image": 0 * self.latent}]]
        self.rows.clear()
        self.deep = 0
        latent = {"samples": torch.zeros(FRAMES, 4, 16, 16)}
        settings = (seed, STEPS, 1.0, 2.5, "linear", "euler", "karras", 1.0)
        return SVDSampler.execute(model or self.model, positive, negative, latent, *settings, **rest).result[0][
            "samples"
        ]


def speeds(run: _Run) -> dict[str, Any]:
    report: dict[str, Any] = {}
    exact = run()
    for speed in ("exact", "balanced", "fastest"):
        error = relative_error(run(speed=speed), exact)
        report[speed] = {"error": error, "evaluations": len(run.rows), "deep": run.deep}
        report[speed]["branches"] = sum(run.rows) // FRAMES
    first = run(speed="fastest")
    in_pieces = run(speed="fastest", memory="smallest")
    report["in pieces"] = {"error": relative_error(in_pieces, first), "reused": run.caches[-1].reused}
    report["second run"] = torch.equal(first, run(speed="fastest"))
    report["batch of clips"] = relative_error(run(speed="fastest", clips=2)[FRAMES:], run(speed="fastest", seed=1))
    return report


def ways_around(run: _Run) -> dict[str, float]:
    """Where deep features cannot be kept, "fastest" is "balanced"."""
    from comfy.controlnet import ControlBase

    report: dict[str, float] = {}

    class Control(ControlBase):
        def get_control(self, *_: Any) -> dict[str, list[Tensor]]:
            return {"output": [torch.full((1, 1, 1, 1), 0.2)], "middle": [torch.full((1, 1, 1, 1), 0.3)]}

    controlled = run(speed="fastest", control=Control())
    report["control"] = relative_error(controlled, run(speed="balanced", control=Control()))
    report["control effect"] = relative_error(controlled, run(speed="balanced"))
    return report


def interrupted(run: _Run) -> dict[str, Any]:
    """The host's way to stop a run, in its fourth evaluation."""
    import comfy.model_management

    seen: list[bool] = []

    def stop(*_: Any) -> None:
        seen.append(run.caches[-1].is_empty)
        if len(seen) == 4:
            comfy.model_management.interrupt_current_processing()

    handle = run.model.model.diffusion_model.out[0].register_forward_pre_hook(stop)
    try:
        run(speed="fastest")
        stopped = False
    except comfy.model_management.InterruptProcessingException:
        stopped = True
    handle.remove()
    options = run.model.model_options["transformer_options"]
    return {"stopped": stopped, "held": not seen[-1], "left": sum(not cache.is_empty for cache in run.caches)} | {
        "options": sorted(name for name in options if name.startswith("svd_"))
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
