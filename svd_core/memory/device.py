"""How much memory a device has left, how much of it a stage may take, and whether it has run out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Literal, ParamSpec, TypeVar, get_args

import psutil
import torch

from ..errors import SVDError

MemoryChoice = Literal["automatic", "fastest", "smallest"]
MEMORY_CHOICES: tuple[str, ...] = get_args(MemoryChoice)

# Share of the free memory that a stage may count on: allocators fragment, libraries take work space for convolutions,
# and other programs move.
USABLE = 0.8

P = ParamSpec("P")
Result = TypeVar("Result")

OUT_OF_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory")


def free_memory(device: torch.device) -> int | None:
    """Bytes that tensors can still take on a device; None if it does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, to be reused
        return torch.cuda.mem_get_info(device)[0] + unused
    return free_host_memory() if device.type == "cpu" else None


def free_host_memory() -> int:
    """Bytes that programs may still take, including memory that only caches files."""
    return psutil.virtual_memory().available


def room_to_spill(device: torch.device) -> int:
    """Bytes of host memory for tensors that do not fit on the device; 0 if the device has no memory of its own."""
    return free_host_memory() if device.type == "cuda" else 0


class OutOfMemory(SVDError, torch.cuda.OutOfMemoryError):
    """Memory ran out where no smaller pieces help. A host that looks for torch's own error frees its models, too."""


def is_out_of_memory(error: Exception) -> bool:
    """True if a device or the host ran out of memory; MPS and the CPU say so in words only."""
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)  # torch.OutOfMemoryError, by the name that 2.4 has too
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS)
    )


def says_out_of_memory(
    task: str, is_oom: Callable[[Exception], bool] = is_out_of_memory
) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Decorate a whole task, so that memory that runs out in it is told in one sentence. task: the sentence's subject.

    What the failed work held is free by then: the error that is raised knows nothing of the one it stands for.
    """

    def decorate(run: Callable[P, Result]) -> Callable[P, Result]:
        @wraps(run)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Result:
            try:
                return run(*args, **kwargs)
            except Exception as error:
                if isinstance(error, SVDError) or not is_oom(error):
                    raise
            raise OutOfMemory(
                f"{task} ran out of memory; ask for fewer frames or smaller pictures, or free some memory."
            )

        return guarded

    return decorate


def release_cached_memory() -> None:
    """Hand back what torch's allocator keeps: its blocks have the wrong sizes once the pieces are smaller."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def describe_bytes(size: float) -> str:
    """A size in words, such as "2.1 GB" or "64.0 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
