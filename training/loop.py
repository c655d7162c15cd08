"""A training loop that can be stopped at any moment and goes on as if it had not been.

What a step draws depends on the seed and the number of the step alone, and the whole state is one safetensors file,
written beside and renamed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from svd_core.errors import SVDError

from .muon import Muon
from .settings import StageSettings

SAVE_SECONDS = 60.0
LOG_EVERY = 20
WARMUP_STEPS = 100
MUON_LEAST_SIDE = 16  # of a matrix; the first and last convolutions are narrower
OPTIMIZER_STATE = ("step", "exp_avg", "exp_avg_sq", "momentum")

Step = Callable[[int], dict[str, Tensor]]


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def mixed_precision(module: nn.Module) -> torch.autocast:
    """The products of a network in bfloat16, up to twice as fast where there is hardware for it; weights stay fp32."""
    return torch.autocast(device_of(module).type, torch.bfloat16)


class Training:
    """Parameters with their optimiser, averages and history, for one stage."""

    def __init__(self, name: str, parameters: Mapping[str, nn.Parameter], settings: StageSettings) -> None:
        self.name, self.settings = name, settings
        self.parameters = dict(parameters)
        self.averages = {key: value.detach().clone() for key, value in self.parameters.items()}
        self.optimizers = list(_optimizers(self.parameters, settings))
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    def run(self, step: Step, folder: Path, seconds: float | None = None) -> None:
        """Train until the stage's steps, or a budget of seconds over all runs, are used up."""
        path = folder / f"{self.name}.state.safetensors"
        self.load(path)
        last_save = last_tick = time.monotonic()
        recent: list[dict[str, float]] = []
        with tqdm(total=self.settings.steps, initial=self.step, desc=self.name, smoothing=0.05) as bar:
            while (progress := self.progress(seconds)) < 1.0:
                recent.append(self.advance(step, progress))
                now = time.monotonic()
                self.seconds, last_tick = self.seconds + now - last_tick, now
                bar.update(1)
                if self.step % LOG_EVERY == 0:
                    self.history.append({"step": float(self.step), **_mean(recent)})
                    bar.set_postfix({key: f"{value:.4f}" for key, value in _mean(recent).items()})
                    recent.clear()
                if now - last_save > SAVE_SECONDS:
                    self.save(path)
                    last_save = now
        self.save(path)

    def progress(self, seconds: float | None) -> float:
        by_time = self.seconds / seconds if seconds else 0.0
        return max(self.step / self.settings.steps, by_time)

    def advance(self, step: Step, progress: float) -> dict[str, float]:
        warm = min((self.step + 1) / WARMUP_STEPS, 1.0)
        losses = step(self.step)
        for parameter in self.parameters.values():
            parameter.grad = None
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * warm * min(1.0, 3.0 * (1.0 - progress))
            optimizer.step()
        self.step += 1
        decay = min(self.settings.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for key, average in self.averages.items():
                average.lerp_(self.parameters[key], 1.0 - decay)
        return {key: float(value.detach()) for key, value in losses.items()}

    def use_averages(self) -> None:
        """Put the averaged weights into the networks."""
        with torch.no_grad():
            for key, parameter in self.parameters.items():
                parameter.copy_(self.averages[key])

    def save(self, path: Path) -> None:
        tensors = {f"average.{key}": value for key, value in self.averages.items()}
        for key, parameter in self.parameters.items():
            tensors[f"parameter.{key}"] = parameter.detach()
            for optimizer in self.optimizers:
                tensors |= {f"{name}.{key}": value for name, value in optimizer.state.get(parameter, {}).items()}
        metadata = {"step": str(self.step), "seconds": str(self.seconds), "history": json.dumps(self.history)}
        beside = path.with_name(path.name + ".part")
        save_file({key: value.contiguous() for key, value in tensors.items()}, beside, metadata)
        os.replace(beside, path)

    def load(self, path: Path) -> None:
        if not path.is_file():
            return
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        self._check(path, tensors)
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.history = json.loads(metadata["history"])
        with torch.no_grad():
            for key, parameter in self.parameters.items():
                parameter.copy_(tensors[f"parameter.{key}"])
                self.averages[key].copy_(tensors[f"average.{key}"])
        for optimizer in self.optimizers:
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            for key, parameter in self.parameters.items():
                if id(parameter) in held:
                    names = (name for name in OPTIMIZER_STATE if f"{name}.{key}" in tensors)
                    state = {name: tensors[f"{name}.{key}"].clone() for name in names}
                    optimizer.state[parameter] = {n: v if n == "step" else v.to(parameter) for n, v in state.items()}

    def _check(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        stored = {key: tensor.shape for key, tensor in tensors.items() if key.startswith("parameter.")}
        if stored != {f"parameter.{key}": parameter.shape for key, parameter in self.parameters.items()}:
            raise SVDError(f"{path.name} is the state of another network; train in another folder, or remove it.")


def _optimizers(parameters: Mapping[str, nn.Parameter], settings: StageSettings) -> Iterator[torch.optim.Optimizer]:
    """Adam; or Muon for the matrices within the network and Adam for its ends, its vectors and its tables."""
    inner = {key for key, p in parameters.items() if p.ndim >= 2 and min(p.flatten(1).shape) >= MUON_LEAST_SIDE}
    inner = {key for key in inner if settings.muon and "embedding" not in key}
    if inner:
        yield Muon([parameters[key] for key in inner], settings.learning_rate)
    outer = [parameter for key, parameter in parameters.items() if key not in inner]
    yield torch.optim.AdamW(outer, settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)


def _mean(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    rows = list(rows)
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]} if rows else {}
