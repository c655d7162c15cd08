"""SVD Sampler: noise to a clip's latents, with guidance that grows over the frames."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ..svd_core.checkpoints.releases import advise
from ..svd_core.config import AutoencoderConfig
from ..svd_core.diffusion import schedules
from ..svd_core.diffusion.guidance import GUIDANCE_KINDS, guidance_scale
from ..svd_core.diffusion.latents import check_num_frames
from ..svd_core.diffusion.samplers import SAMPLERS
from ..svd_core.diffusion.speed import SPEEDS, speed_mode
from ..svd_core.memory.device import MEMORY_CHOICES
from ..svd_core.models.embeddings import check_positions
from .host.folders import ALIASES, CATEGORY, io
from .host.inputs import checked
from .host.latents import clip_length, count_pictures, join_clips, split_runs
from .host.sampling import Sampling, sample_clips
from .host.sockets import num_positions, release_of

logger = logging.getLogger(__name__)

MAX_CLIPS = 64


class SVDSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVD_Sampler",
            display_name="SVD Sampler",
            category=CATEGORY,
            description="Samples the clip, with guidance that is gentle at the picture and grows over the frames.",
            search_aliases=[*ALIASES, "ksampler", "video linear cfg"],
            inputs=[
                io.Model.Input("model", tooltip="From SVD Loader; LoRA and patch nodes may stand between."),
                io.Conditioning.Input("positive", tooltip="From VAE Encode Conditioning."),
                io.Conditioning.Input("negative", tooltip="From VAE Encode Conditioning."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="The empty clip from VAE Encode Conditioning, or what SVD Video Encode or SVD Hold Frames "
                    "make of it.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the noise the clip grows from. Another seed, another motion; the same seed gives "
                    "the same clip on every device. Of several clips, each further one has the next seed.",
                ),
                io.Int.Input(
                    "steps",
                    default=25,
                    min=1,
                    max=1000,
                    tooltip="Sampling steps, 10 to 50. Time grows with it; 25 is usual, 10 suit align your steps.",
                ),
                io.Float.Input(
                    "min_cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Guidance at the first frame, 1 to 2. Low keeps it close to the picture.",
                ),
                io.Float.Input(
                    "max_cfg",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Guidance at the last frame, 2 to 4. Higher is crisper and moves less freely; too high "
                    "burns colours. 2.5 suits svd, 3 the XT models.",
                ),
                io.Combo.Input(
                    "guidance",
                    options=list(GUIDANCE_KINDS),
                    default="linear",
                    tooltip="How guidance runs over the frames: linear from min to max, triangle up to the middle and "
                    "back (orbits), constant at max.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=list(SAMPLERS),
                    default="euler",
                    tooltip="euler is what the models are used with; heun is finer at twice the time; dpmpp_2m needs "
                    "fewer steps; euler_ancestral adds noise on the way.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=list(schedules.SCHEDULES),
                    default="karras",
                    tooltip="Spacing of the noise levels. karras is the models' own; align your steps is made for "
                    "about 10 steps.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="1 starts from pure noise. Lower starts from latent_image (a clip from SVD Video Encode) "
                    "and changes less of it: 0.7 keeps the rough layout, 0.3 all but details.",
                ),
                io.Combo.Input(
                    "memory",
                    options=list(MEMORY_CHOICES),
                    default="automatic",
                    optional=True,
                    advanced=True,
                    tooltip="What is split to save memory: automatic only what would not fit, fastest nothing, "
                    "smallest all that pays. The clip is the same.",
                ),
                io.Combo.Input(
                    "denoise_steps",
                    options=list(schedules.SHORTENINGS),
                    default="last steps",
                    optional=True,
                    advanced=True,
                    tooltip="Which noise levels a denoise below 1 takes: last steps those of a longer schedule, as "
                    "KSampler does; all steps spreads them over the last part of the schedule, as DiffSynth does.",
                ),
                io.Int.Input(
                    "clips",
                    default=1,
                    min=1,
                    max=MAX_CLIPS,
                    optional=True,
                    tooltip="Clips to make of each picture, one after the other: the first with seed, the next with "
                    "seed + 1, and so on. SVD Contact Sheet shows them side by side to choose from.",
                ),
                io.Combo.Input(
                    "speed",
                    options=list(SPEEDS),
                    default="exact",
                    optional=True,
                    advanced=True,
                    tooltip="exact leaves nothing out; the others change the clip a little. balanced guides only at "
                    "the noise levels where guidance shows; fastest also lets deep features serve for several steps "
                    "where little changes.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    tooltip="The clip's latents, one for each frame, for Temporal VAE Decode; several clips stand "
                    "one after the other."
                )
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        seed: int,
        steps: int,
        min_cfg: float,
        max_cfg: float,
        guidance: str,
        sampler: str,
        schedule: str,
        denoise: float,
        memory: str = "automatic",
        denoise_steps: str = "last steps",
        clips: int = 1,
        speed: str = "exact",
    ) -> io.NodeOutput:
        samples = latent_image["samples"]
        num_frames = clip_length(latent_image, count_pictures(positive) if positive else 1)
        check_num_frames(num_frames)
        check_positions(num_frames, num_positions(model))
        log_advice(model, samples[:num_frames], positive)

        levels = model.get_model_object("model_sampling")
        lowest, highest = float(levels.sigma_min), float(levels.sigma_max)
        sigmas = schedules.sigmas(schedule, steps, denoise, lowest, highest, denoise_steps)
        if denoise < 1:
            logger.info("SVD Sampler starts from the clip with noise of sigma %.3g (of %.3g).", sigmas[0], highest)
        scale = guidance_scale(guidance, min_cfg, max_cfg, num_frames)
        runs = split_runs(positive, negative, latent_image, num_frames, clips, seed)
        sampled = sample_clips(model, runs, Sampling(sampler, sigmas, scale, memory, speed_mode(speed)))
        return io.NodeOutput(join_clips(latent_image, sampled, [run.seed for run in runs]))


def log_advice(model: Any, samples: Tensor, positive: Any) -> None:
    """Warn of settings that are unusual for this checkpoint, one line each. samples: t 4 h w."""
    options = positive[0][1]
    num_frames, _, height, width = samples.shape
    scale = AutoencoderConfig().downscale
    for advice in advise(
        release_of(model),
        num_frames=num_frames,
        fps=options.get("fps"),
        motion_bucket_id=options.get("motion_bucket_id"),
        width=scale * width,
        height=scale * height,
    ):
        logger.warning(advice)
