"""The alpha of layers that store none beside their factors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import SVDError

METADATA_KEY = "lora_adapter_metadata"  # peft's own settings, as diffusers writes them into the file's header
_OWNER = "unet."


@dataclass(frozen=True)
class AlphaSettings:
    """What a file says of all its layers; a file that says nothing means alpha = rank, a scale of one."""

    default: float | None = None
    patterns: Mapping[re.Pattern[str], float] = field(default_factory=dict)  # for the ends of paths
    by_root: bool = False  # rank-stabilised: divided by the root of the rank

    def alpha(self, path: str, rank: int) -> float:
        """Alpha as it is divided by the rank."""
        stated = next((alpha for end, alpha in self.patterns.items() if end.search(path)), self.default)
        if stated is None:
            return float(rank)
        return stated * math.sqrt(rank) if self.by_root else stated


def alpha_settings(name: str, metadata: Mapping[str, str]) -> AlphaSettings:
    """Raises SVDError for metadata that are there and cannot be read: a wrong alpha would only show in the picture."""
    if METADATA_KEY not in metadata:
        return AlphaSettings()
    try:
        stated: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        own = {key.removeprefix(_OWNER): value for key, value in stated.items()}
        default = own.get("lora_alpha")
        stated_apart = (own.get("alpha_pattern") or {}).items()
        patterns = {re.compile(rf"(^|\.)({end})$"): float(alpha) for end, alpha in stated_apart}
        return AlphaSettings(None if default is None else float(default), patterns, bool(own.get("use_rslora")))
    except (AttributeError, TypeError, ValueError, re.error):
        raise SVDError(f"{name} has unreadable {METADATA_KEY} metadata: save or download the LoRA again.") from None
