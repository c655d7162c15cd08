"""Runs ComfyUI's own networks, samplers and schedules, in a process of its own, on inputs given as a file.

    python host_process.py FOLDER

FOLDER has `job.json` and `inputs.safetensors`; `outputs.safetensors` is written beside them. A process of its own,
because importing the host parses the command line, picks a device and puts modules of common names on the path.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
CLIP_PREFIX = "conditioner.embedders.0.open_clip.model.visual."

STATELESS_SAMPLERS = ("euler", "heun", "dpmpp_2m")
CHURN = {"s_churn": 4.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003}
CHURNED_SAMPLERS = ("euler", "heun")
NOISE_SEED = 11


def toy_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """A smooth, nonlinear stand-in for a network: x0 of data that lies within -1 and 1."""
    sigma = sigma.reshape(-1, *[1] * (x.ndim - 1))
    return torch.tanh(1.5 * x / (1 + sigma**2).sqrt() + 0.2)


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    sys.path[0] = job["comfyui"]
    sys.argv = ["main.py", "--cpu"]
    logging.disable(logging.INFO)
    import comfy.options

    comfy.options.enable_args_parsing()
    inputs = load_file(folder / "inputs.safetensors")
    outputs: dict[str, Tensor] = {}
    with torch.no_grad():
        for run in (run_unet, run_autoencoder, run_image_decoder, run_clip, run_samplers, run_schedules, run_scalings):
            outputs |= run(job, inputs)
    save_file({name: tensor.float().contiguous() for name, tensor in outputs.items()}, folder / "outputs.safetensors")


def run_unet(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The configuration is the one that the host itself reads off the weights; only the heads cannot be seen there."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.model_detection import detect_unet_config

    weights = load_file(job["single"])
    config = detect_unet_config(weights, UNET_PREFIX) | {"num_heads": -1, "num_head_channels": job["head_dim"]}
    unet = UNetModel(**config).eval()
    unet.load_state_dict(under(weights, UNET_PREFIX))
    outputs = {}
    for case, tensors in cases(inputs, "unet"):
        image_only = tensors["image_only"]
        outputs[f"unet/{case}"] = unet(
            tensors["x"],
            tensors["c_noise"],
            context=tensors["context"],
            y=tensors["y"],
            num_video_frames=image_only.shape[1],
            image_only_indicator=image_only if image_only.any() else None,
            time_context=tensors.get("time_context"),
            transformer_options={},
        )
    return outputs


def run_autoencoder(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    from comfy.ldm.modules.diffusionmodules.model import Encoder
    from comfy.ldm.modules.temporal_ae import VideoDecoder

    weights = under(load_file(job["single"]), VAE_PREFIX)
    encoder = Encoder(**job["vae"]).eval()
    encoder.load_state_dict(under(weights, "encoder."))
    decoder = VideoDecoder(**job["vae"], video_kernel_size=[3, 1, 1], alpha=0.0).eval()
    decoder.load_state_dict(under(weights, "decoder."))
    outputs = {"moments": encoder(inputs["pixels"])}
    for case, tensors in cases(inputs, "temporal"):
        outputs[f"temporal/{case}"] = decoder(tensors["z"])  # which takes any batch for the frames of one clip
    return outputs


def run_image_decoder(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    from comfy.ldm.models.autoencoder import AutoencoderKL

    vae = AutoencoderKL(ddconfig=job["vae"], embed_dim=job["vae"]["z_channels"]).eval()
    vae.load_state_dict(under(load_file(job["image_decoder"]), VAE_PREFIX))
    return {"image": vae.decode(inputs["z"])}


def run_clip(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    from comfy.clip_model import CLIPVisionModelProjection

    clip = CLIPVisionModelProjection(job["clip"], torch.float32, "cpu", torch.nn).eval()
    clip.load_state_dict(under(load_file(job["comfy"]), CLIP_PREFIX))
    last, penultimate, embeds, _ = clip(inputs["clip_pixels"], intermediate_output=-2)
    return {"clip/last_hidden_state": last, "clip/penultimate_hidden_state": penultimate, "clip/image_embeds": embeds}


def run_samplers(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    from comfy.k_diffusion import sampling

    x, sigmas = inputs["sampler_x"], inputs["sampler_sigmas"]
    runs: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in STATELESS_SAMPLERS}
    runs |= {f"{name} with churn": (name, CHURN) for name in CHURNED_SAMPLERS}
    outputs = {}
    for what, (name, options) in runs.items():
        torch.manual_seed(NOISE_SEED)
        sample = getattr(sampling, f"sample_{name}")
        outputs[f"sampler/{what}"] = sample(_Denoiser(), x, sigmas, disable=True, **options)
    generator = torch.Generator().manual_seed(NOISE_SEED)
    outputs["sampler/euler_ancestral"] = sampling.sample_euler_ancestral(
        _Denoiser(), x, sigmas, disable=True, noise_sampler=lambda *_: torch.randn(x.shape, generator=generator)
    )
    return outputs


class _Denoiser:
    """The little of the host's wrapped model that its samplers look at."""

    def __init__(self) -> None:
        self.inner_model = self
        self.model_sampling = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return toy_denoiser(x, sigma)


def run_schedules(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    from comfy.samplers import calculate_sigmas
    from comfy_extras.nodes_align_your_steps import AlignYourStepsScheduler

    schedules: dict[str, Callable[[int], Tensor]] = {
        "karras": lambda steps: calculate_sigmas(_model_sampling(), "karras", steps),
        "align your steps": lambda steps: AlignYourStepsScheduler.execute("SVD", steps, 1.0).result[0],
    }
    return {f"sigmas/{name}/{steps}": make(steps) for name, make in schedules.items() for steps in job["steps"]}


def run_scalings(job: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The preconditioning: scaled input, conditioning of the noise level, x0, and the noise at the start."""
    model, x, v, sigma = _model_sampling(), inputs["scaling_x"], inputs["scaling_v"], inputs["scaling_sigmas"]
    return {
        "scaling/input": model.calculate_input(sigma, x),
        "scaling/c_noise": model.timestep(sigma),
        "scaling/denoised": model.calculate_denoised(sigma, v, x),
        "scaling/start": model.noise_scaling(sigma[:1], x, torch.zeros_like(x), max_denoise=True),
        "scaling/start from a latent": model.noise_scaling(sigma[:1], x, v, max_denoise=False),
    }


def _model_sampling() -> Any:
    from comfy.model_base import ModelType, model_sampling
    from comfy.supported_models import SVD_img2vid

    return model_sampling(SVD_img2vid, ModelType.V_PREDICTION_EDM)


def under(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def cases(inputs: dict[str, Tensor], kind: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Tensors named `kind/case/name`, by case."""
    names = {name.split("/")[1] for name in inputs if name.startswith(f"{kind}/")}
    for case in sorted(names):
        yield case, under(inputs, f"{kind}/{case}/")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
