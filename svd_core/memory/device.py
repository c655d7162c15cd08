"""How much memory a device has left, and whether it has run out."""

from __future__ import annotations

import os
from pathlib import Path

import torch

# Share of the free memory that a stage may count on; allocators fragment, libraries take work space for convolutions,
# and other programs move.
USABLE = 0.8
OUT_OF_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory")


def free_memory(device: torch.device) -> int | None:
    """Bytes that tensors can still take on a device, None where it does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, to be reused
        return torch.cuda.mem_get_info(device)[0] + unused
    return free_host_memory() if device.type == "cpu" else None


def free_host_memory() -> int | None:
    """Bytes that programs may still take, among them those that only cache files."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def room_to_spill(device: torch.device) -> int | None:
    """Bytes of host memory for what the device lacks room for; none where the device has no memory of its own."""
    return free_host_memory() if device.type == "cuda" else 0


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory; MPS and the CPU say so in words only."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or (  # torch.OutOfMemoryError, by the name that 2.4 has too
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS)
    )


def release_cached_memory() -> None:
    """Hand back what torch's allocator keeps; its pieces have the wrong sizes once the split is another."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
