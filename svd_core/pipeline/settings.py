"""Arguments of a clip: their defaults, ranges and help, written once.

The pipeline's call, the options of the command line, the records in files and the tables of the documentation follow
from the fields below. torch is not imported here, so that `svd-nodes animate --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

from ..errors import SVDError, show_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..diffusion.samplers import Callback
    from ..diffusion.schedules import Shortening
    from ..diffusion.speed import Speed
    from ..images.pictures import FitMode
    from ..memory.device import MemoryChoice

Fields = TypeVar("Fields")
Options = TypeVar("Options", "ClipSettings", "RunOptions")

MADE_FOR = "what the checkpoint was made for"  # the default of settings that are None


@dataclass(frozen=True)
class Setting:
    """The description of a field."""

    help: str
    kind: type
    group: str  # heading in the documentation and the help of the command line; empty: for Python only
    limits: tuple[float, float] | None = None  # the least and the most that a number may be
    unit: str = ""
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The numbers that are taken, in words; empty for settings that are no numbers."""
        return "{} to {}".format(*self.limits) if self.limits else ""

    def read(self, name: str, value: Any) -> Any:
        """The value, with the numbers of other libraries as Python's own, which files and messages take.

        Raises SVDError for what is no number of this kind, or out of its range.
        """
        if self.limits is None:
            return value
        if not _is_number(value, self.kind):
            kind = "a whole number" if self.kind is int else "a number"
            raise SVDError(f"{name} is {value!r} and must be {kind}, {self.range}.")
        if not self.limits[0] <= value <= self.limits[1]:
            raise SVDError(f"{name} is {show_number(value)} and must be {self.range}.")
        return self.kind(value)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, Integral if kind is int else Real)


def setting(default: Any, help: str, kind: type | None = None, group: str = "the clip", **more: Any) -> Any:
    """A dataclass field with its description. kind: by default the type of `default`."""
    return field(default=default, metadata={"setting": Setting(help, kind or type(default), group, **more)})


def describe_settings(kind: type) -> dict[str, tuple[Any, Setting]]:
    """Default and description of each described field, by name."""
    return {each.name: (each.default, each.metadata["setting"]) for each in fields(kind) if "setting" in each.metadata}


def read_numbers(options: Options) -> Options:
    """The same options, with every number checked and plain; see `Setting.read`."""
    values = {
        name: each.read(name, value)
        for name, (default, each) in describe_settings(type(options)).items()
        if (value := getattr(options, name)) is not None or default is not None  # None stands for a default of None
    }
    return replace(options, **values)


def join_words(words: Sequence[str]) -> str:
    """a, b or c"""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@dataclass(frozen=True)
class ClipSettings:
    """All settings of a clip but its pictures and its seed. None stands for what the checkpoint was made for."""

    width: int | None = setting(
        None,
        "width of the video, rounded to a multiple that the model takes",
        int,
        limits=(1, 8192),
        unit="pixels",
    )
    height: int | None = setting(None, "height of the video, rounded too", int, limits=(1, 8192), unit="pixels")
    num_frames: int | None = setting(None, "frames of the clip", int, limits=(2, 4096))
    fps: float = setting(
        7.0, "frames per second that the motion is made for, and that the clip plays at", limits=(1, 1000)
    )
    motion_bucket_id: float = setting(127.0, "amount of motion; 0 is little, 255 much", limits=(0, 1023))
    noise_aug_strength: float = setting(
        0.02, "noise added to the picture, usually 0 to 1; more lets the clip move further from it", limits=(0, 10)
    )
    num_inference_steps: int = setting(25, "sampling steps; 10 to 50 are usual", limits=(1, 1000))
    min_cfg_scale: float = setting(1.0, "guidance of the first frame; 1 is none", limits=(-100, 100))
    max_cfg_scale: float | None = setting(
        None, "guidance of the last frame; higher is crisper and moves less", float, limits=(-100, 100)
    )
    fit: FitMode = setting("crop", "what is done with a picture of another shape", choices=("crop", "pad", "stretch"))
    guidance_kind: str = setting(
        "linear",
        "guidance over the frames; linear rises from first to last, triangle falls again, constant is the last frame's",
        choices=("linear", "triangle", "constant"),
    )
    sampler: str = setting(
        "euler",
        "solver of the sampling steps; heun takes twice the time",
        choices=("euler", "euler_ancestral", "heun", "dpmpp_2m"),
    )
    schedule: str = setting(
        "karras",
        "spacing of the noise levels; align your steps is made for 10 steps",
        choices=("karras", "align your steps"),
    )
    speed: Speed = setting(
        "exact",
        "leave work out, which changes the clip; best with align your steps at 10 steps",
        choices=("exact", "balanced", "fastest"),
    )
    denoising_strength: float = setting(
        1.0,
        "below 1 the clip starts from the input video; less keeps more of it",
        group="video to video",
        limits=(0.001, 1),
    )
    denoising_steps: Shortening = setting(
        "all steps",
        "noise levels of a strength below 1: the end of a longer schedule, or spread over the rest of the schedule",
        group="video to video",
        choices=("last steps", "all steps"),
    )
    post_normalize: bool = setting(False, "even out brightness and contrast over the frames", group="corrections")
    contrast_enhance_scale: float = setting(
        1.0, "factor on the contrast; 1.2 suits grey clips of an extension", group="corrections", limits=(0.01, 10)
    )
    colour_match: float = setting(
        0.0,
        "bring the colours of all frames to those of the picture; 1 matches in full",
        group="corrections",
        limits=(0, 1),
    )

    @property
    def starts_from_video(self) -> bool:
        return self.denoising_strength < 1.0


@dataclass(frozen=True)
class ResolvedSettings(ClipSettings):
    """Settings with nothing left open, as `resolve.resolve_settings` makes them for a checkpoint.

    The defaults are those of SVD-XT, which also serve checkpoints whose name and files do not say what they are.
    """

    width: int = 1024
    height: int = 576
    num_frames: int = 25
    max_cfg_scale: float = 3.0


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. Apart from the noise, nothing here changes it."""

    seed: int = setting(0, "seed of the noise: another seed, another motion", limits=(0, 2**64 - 1))
    memory: MemoryChoice = setting(
        "automatic",
        "split the sampling to save memory: only what would not fit, never, or always",
        group="the machine",
        choices=("automatic", "fastest", "smallest"),
    )
    frames_at_once: int = setting(
        0, "frames that are decoded together; 0 lets the free memory decide", group="the machine", limits=(0, 4096)
    )
    progress: bool = setting(True, "show a progress bar", group="")
    callback: Callback | None = setting(None, "called at every step with a StepInfo", object, "")
    generator: torch.Generator | None = setting(None, "draws the seed, in place of `seed`", object, "")
    latent_noise: Tensor | None = setting(None, "t 4 h w, in place of the seed's noise", object, "")
    augmentation_noise: Tensor | None = setting(None, "1 3 H W, in place of the seed's noise", object, "")


class CallArguments(TypedDict, total=False):
    """Keyword arguments of a call, for editors and type checkers; a test holds them equal to the fields.

    TypedDict has no way to take them from ClipSettings, GivenFrames and RunOptions.
    """

    settings: ClipSettings | None
    width: int | None
    height: int | None
    num_frames: int | None
    fps: float
    motion_bucket_id: float
    noise_aug_strength: float
    num_inference_steps: int
    min_cfg_scale: float
    max_cfg_scale: float | None
    fit: FitMode
    guidance_kind: str
    sampler: str
    schedule: str
    speed: Speed
    denoising_strength: float
    denoising_steps: Shortening
    post_normalize: bool
    contrast_enhance_scale: float
    colour_match: float
    input_video: Any
    mask_frames: Any
    mask_frame_ids: Sequence[int]
    masks: Any
    seed: int
    memory: MemoryChoice
    frames_at_once: int
    progress: bool
    callback: Callback | None
    generator: torch.Generator | None
    latent_noise: Tensor | None
    augmentation_noise: Tensor | None


def take_fields(kind: type[Fields], arguments: dict[str, Any]) -> Fields:
    """Make a `kind`, a dataclass, of those arguments that are its fields, and remove them."""
    names = [each.name for each in fields(cast(Any, kind)) if each.name in arguments]
    return kind(**{name: arguments.pop(name) for name in names})
