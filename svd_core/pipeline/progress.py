"""A progress bar for a sampling run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..diffusion.samplers import Callback, StepInfo
from ..errors import needing


@contextmanager
def progress_bar(label: str, total: int, callback: Callback | None, shown: bool) -> Iterator[Callback]:
    """A step callback that moves a progress bar and passes the step on."""
    with needing("tqdm", "A progress bar"):
        from tqdm import tqdm

    with tqdm(total=total, desc=label, disable=not shown) as bar:

        def report(step: StepInfo) -> None:
            bar.update(1)
            if callback is not None:
                callback(step)

        yield report
