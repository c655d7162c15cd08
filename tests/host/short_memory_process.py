"""SVD Sampler and Temporal VAE Decode where memory runs out at one allocation after another.

    python short_memory_process.py COMFYUI CHECKPOINT POINTS

POINTS: allocations that fail in each kind of run, spread over it; 0 for every 50th. See `pack_in_host.py`. Prints
figures as JSON.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from pack_in_host import REPOSITORY, relative_error, start
from torch import Tensor

STEP = 50


def main(comfyui: str, checkpoint: str, points: str) -> None:
    start(comfyui)
    from pack_as_the_host_loads_it.nodes.host.model import make_model
    from pack_as_the_host_loads_it.nodes.host.vae import SVDVAE
    from pack_as_the_host_loads_it.svd_core.checkpoints import open_checkpoint

    opened = open_checkpoint(checkpoint)
    with torch.inference_mode():
        model, vae = make_model(opened, None), SVDVAE(opened, None)
        report = {
            name: _Short(run, model, int(points)).report()
            for name, run in runs(model, vae, opened.unet.context_dim, few=points != "0")
        }
    print(json.dumps(report))


def runs(model: Any, vae: Any, context_dim: int, few: bool) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    from pack_as_the_host_loads_it.nodes.sampler import SVDSampler
    from pack_as_the_host_loads_it.nodes.temporal_decode import SVDTemporalVAEDecode

    latents, empty = torch.randn(3, 4, 8, 8), torch.zeros(3, 4, 8, 8)
    options = {"concat_latent_image": torch.randn(1, 4, 8, 8), "motion_bucket_id": 127, "fps": 6}
    cond = [[torch.randn(1, 1, context_dim), {**options, "augmentation_level": 0.02}]]
    mask = torch.ones(3, 1, 8, 8)
    mask[-1] = 0

    def sample(sampler: str, held: bool, **rest: str) -> Tensor:
        latent = {"samples": latents, "noise_mask": mask} if held else {"samples": empty}
        settings = (0, 2, 1.0, 2.5, "linear", sampler, "karras", 1.0)
        return SVDSampler.execute(model, cond, cond, latent, *settings, **rest).result[0]["samples"]

    kinds = product(("automatic", "fastest", "smallest"), ("exact", "balanced", "fastest"), ("euler", "heun"))
    for index, (memory, speed, sampler) in enumerate(kinds):
        if few and index % 3:
            continue
        yield (
            f"{memory} {speed} {sampler}",
            lambda s=sampler, i=index, m=memory, v=speed: sample(s, i % 2 == 1, memory=m, speed=v),
        )
    for frames in (0, 1, 2):
        yield (
            f"decode {frames}",
            lambda n=frames: SVDTemporalVAEDecode.execute(vae, {"samples": latents}, n).result[0],
        )


class _Short:
    """One kind of run, undisturbed and then with a failing allocation."""

    def __init__(self, run: Callable[[], Tensor], model: Any, points: int) -> None:
        self.run, self.model, self.points = run, model, points
        self.short_memory = _load_short_memory()
        self.options = self._read_options()
        self.expected = run()

    def report(self) -> dict[str, int]:
        with self.short_memory() as counter:
            self.run()
        every = range(1, counter.made + 1, STEP)
        some = every[:: max(1, len(every) // self.points)] if self.points else every
        total = sum((self._fail(at) for at in some), Counter[str]())
        return dict(total)

    def _fail(self, fails_at: int) -> Counter[str]:
        import comfy.model_management as host

        with self.short_memory(fails_at) as memory:
            end = self._end()
        gc.collect()  # frames of a caught error may hold each other until Python looks
        faults = {
            "memory left": memory.live["cpu"] > 0,
            "options left": self._read_options() != self.options,
            "another clip after it": fails_at % (4 * STEP) == 1 and self._differs_after(host),
        }
        return Counter({end: 1} | {name: 1 for name, is_so in faults.items() if is_so})

    def _end(self) -> str:
        import comfy.model_management as host

        try:
            clip = self.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            if not host.is_oom(error):
                return f"{type(error).__name__}: {error}"
            told = "ran out of memory; " in str(error) and "\n" not in str(error)
            return "sentence" if told else f"no sentence: {error}"
        if torch.equal(clip, self.expected):
            return "same bits"
        error = relative_error(clip, self.expected)
        return "same clip" if error <= 5e-5 else f"another clip, {error:.0e}"

    def _differs_after(self, host: Any) -> bool:
        """What the host does after a lack of memory, and the same run again."""
        host.unload_all_models()
        return not torch.equal(self.run(), self.expected)

    def _read_options(self) -> str:
        return repr(sorted(self.model.model_options["transformer_options"])) + repr(sorted(self.model.model_options))


def _load_short_memory() -> Any:
    """The class of the tests of the core; the host has a package named `tests` as well."""
    sys.path.append(str(REPOSITORY))
    path = REPOSITORY / "tests" / "support" / "short_memory.py"
    spec = importlib.util.spec_from_file_location("short_memory", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ShortMemory


if __name__ == "__main__":
    main(*sys.argv[1:])
