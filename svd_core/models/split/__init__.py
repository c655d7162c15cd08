"""The UNet with bounded activations: the same numbers, a piece of the clip at a time."""

from .conditions import Conditions
from .size import Split
from .unet import run_split

__all__ = ["Conditions", "Split", "run_split"]
