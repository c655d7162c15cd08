"""Options of the command line: those of the settings, made from their fields, and the values of the others.

Names of samplers and the like are checked where they are used, so that torch is not imported here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..config import WEIGHT_DTYPE_NAMES
from ..pipeline.settings import MADE_FOR, ClipSettings, RunOptions, Setting, describe_settings, join_words

GROUPS = ("the clip", "video to video", "held frames", "corrections", "the machine")

MAX_STRENGTH = 100  # of a LoRA, as in ComfyUI
OUT_OF_MEMORY = "memory ran out; use fewer frames, a smaller size or --memory smallest"

Groups = dict[str, Any]  # of argparse, by title
Kind = TypeVar("Kind", ClipSettings, RunOptions)


def add_setting_options(parser: argparse.ArgumentParser) -> Groups:
    """An option for every field of ClipSettings and RunOptions. Returns the groups, for further options."""
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for kind in (ClipSettings, RunOptions):
        for name, (default, setting) in describe_settings(kind).items():
            if setting.group:
                _add_option(groups[setting.group], name, default, setting)
    return groups


def _add_option(group: Any, name: str, default: Any, setting: Setting) -> None:
    flag = f"--{name.replace('_', '-')}"
    if setting.kind is bool:
        group.add_argument(flag, action="store_true", help=setting.help)
        return
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    shown = f"default: {MADE_FOR}" if default is None else shown
    names = [f'"{choice}"' if " " in choice else choice for choice in setting.choices]
    text = f"{setting.help}: {join_words(names)} ({shown})" if names else f"{setting.help} ({shown})"
    metavar = setting.unit.upper() or ("NAME" if names else "N" if setting.kind is int else "X")
    kind = whole_number(*setting.limits) if setting.kind is int and setting.limits else setting.kind
    group.add_argument(flag, type=kind, default=default, metavar=metavar, help=text)


def read_settings(options: argparse.Namespace, kind: type[Kind]) -> Kind:
    """The settings that were given as options."""
    given = {name: getattr(options, name) for name, (_, each) in describe_settings(kind).items() if each.group}
    return kind(**given)


def whole_number(at_least: float, at_most: float) -> Callable[[str], int]:
    """A type of argparse."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not at_least <= value <= at_most:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number from {at_least} to {at_most}")
        return value

    return parse


@dataclass(frozen=True)
class LoRAOption:
    path: Path
    strength: float


@dataclass(frozen=True)
class HoldOption:
    """A picture for a frame, or a mask for it; frame_id is None for a mask of all held frames."""

    frame_id: int | None
    path: Path


def parse_lora(text: str) -> LoRAOption:
    """FILE or FILE:STRENGTH; a colon without a number behind it belongs to the name."""
    path, _, number = text.rpartition(":")
    try:
        strength = float(number)
    except ValueError:
        return LoRAOption(Path(text), 1.0)
    if not path:
        return LoRAOption(Path(text), 1.0)
    if not abs(strength) <= MAX_STRENGTH:
        raise argparse.ArgumentTypeError(f"{text}: expected a strength from -{MAX_STRENGTH} to {MAX_STRENGTH}")
    return LoRAOption(Path(path), strength)


def parse_hold(text: str) -> HoldOption:
    """ID=FILE."""
    option = parse_hold_mask(text)
    if option.frame_id is None:
        raise argparse.ArgumentTypeError(f"{text}: expected ID=FILE, such as 0=first.png or -1=last.png")
    return option


def parse_hold_mask(text: str) -> HoldOption:
    """FILE or ID=FILE; what stands before an = without being a whole number belongs to the name."""
    frame_id, _, path = text.partition("=")
    try:
        return HoldOption(int(frame_id), Path(path)) if path else HoldOption(None, Path(text))
    except ValueError:
        return HoldOption(None, Path(text))


def find_dtype(name: str | None) -> Any:
    """The dtype of torch with a short name; None for None."""
    import torch

    return None if name is None else getattr(torch, WEIGHT_DTYPE_NAMES[name])


def name_dtype(dtype: Any) -> str:
    """The short name of a torch dtype."""
    long = str(dtype).removeprefix("torch.")
    return next((short for short, name in WEIGHT_DTYPE_NAMES.items() if name == long), long)
