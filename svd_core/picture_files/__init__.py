"""Picture files: opened in one place, whatever camera, browser or program wrote them. Needs no torch."""

from .kinds import describe_other, is_picture_name
from .levels import check_levels, to_array, to_rgb_levels
from .open import count_frames, log_first_of, open_picture, read_picture, reporting, turn_upright

__all__ = [
    "check_levels",
    "count_frames",
    "describe_other",
    "is_picture_name",
    "log_first_of",
    "open_picture",
    "read_picture",
    "reporting",
    "to_array",
    "to_rgb_levels",
    "turn_upright",
]
