"""Draw the thumbnails of the example workflows: clips of the bundled model where the example uses it, else diagrams.

    python -m docs.pictures.draw_thumbnails

Those of image_to_video and image_to_video_xt come from `python -m training show` and
`docs/pictures/draw_example_image.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from svd_core import SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.config import UNetConfig
from svd_core.images.contact_sheet import draw_sheet
from svd_core.memory.activations import UNetCall
from svd_core.memory.sampling import plan_sampling
from tools.workflow import DEMO_PICTURE, FOLDER, PICTURE

from .canvas import ACCENT, GREEN, PANEL, QUIET, SOCKETS, TEXT, WARM, Canvas

WIDTH, HEIGHT = 640, 360
SEEDS = range(6)
UNET_WEIGHTS = 1.5247e9  # parameters


def main() -> None:
    pipe = SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu")
    clips = torch.stack([clip(pipe, seed) for seed in SEEDS])
    save("several_seeds", several_seeds(clips))
    save("native_mix", native_mix(clips[0]))
    save("low_memory", low_memory())
    save("lora", lora())


def save(name: str, picture: Image.Image) -> None:
    picture.convert("RGB").save(FOLDER / f"{name}.jpg", quality=88, optimize=True)


def clip(pipe: SVDPipeline, seed: int) -> Tensor:
    """The comet's clip, t h w 3 in [0, 1]."""
    return pipe(Image.open(DEMO_PICTURE), seed=seed, output="tensor", progress=False)


def to_picture(frame: Tensor, size: tuple[int, int]) -> Image.Image:
    """h w 3 in [0, 1], filling `size`."""
    picture = Image.fromarray((255.0 * frame).round().to(torch.uint8).numpy())
    return ImageOps.fit(picture, size, Image.Resampling.BICUBIC)


def several_seeds(clips: Tensor) -> Image.Image:
    """The contact sheet that the example makes, at a moment when the clips have gone apart."""
    size = (WIDTH // 3 // 2 * 2, HEIGHT // 2)
    frames = [np.asarray(to_picture(clip[len(clip) * 2 // 3], size)) for clip in clips]
    large = torch.from_numpy(np.stack(frames)).float()[:, None] / 255.0  # b 1 h w 3
    (sheet,) = draw_sheet(large, [f"{index + 1}: seed {seed}" for index, seed in enumerate(SEEDS)], WIDTH)
    return to_picture(sheet, (WIDTH, HEIGHT))


def native_mix(frames: Tensor) -> Image.Image:
    """Our nodes and the host's in one row, and a clip made with them."""
    canvas = Canvas(WIDTH, HEIGHT)
    nodes = (("SVD Loader", ACCENT), ("KSampler", WARM), ("Temporal VAE Decode", ACCENT))
    for index, (name, colour) in enumerate(nodes):
        x = 20 + 210 * index
        canvas.box((x, 40), (180, 70), PANEL, colour)
        canvas.text((x + 90, 75), name, 15)
        if index:
            canvas.line([(x - 30, 75), (x, 75)], SOCKETS["MODEL"] if index == 1 else QUIET)
    for index in range(4):
        frame = to_picture(frames[index * (len(frames) - 1) // 3], (140, 140))
        canvas.picture(frame, (20 + 153 * index, 170), (140, 140))
    return canvas.reduced()


def low_memory() -> Image.Image:
    """Memory of sampling with usual settings and with those of the example, to scale."""
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.picture(Image.open(PICTURE), (20, 20), (256, 144))
    canvas.picture(Image.open(PICTURE), (364, 47), (192, 108))  # 768 of 1024
    usual, example = sampling_bytes()
    for x, (weights, activations), colour, name in ((148, usual, WARM, "fp16"), (460, example, GREEN, "low memory")):
        total = weights + activations
        length = 256 * total / sum(usual)
        canvas.box((x - 128, 215), (256, 50), PANEL, None)
        canvas.box((x - 128, 215), (length, 50), colour, None)
        canvas.text((x, 295), f"{total / 1e9:.1f} GB", 26, colour)
        canvas.text((x, 330), name, 17, QUIET)
    return canvas.reduced()


def sampling_bytes() -> Iterator[tuple[float, float]]:
    """Weights and activations of the UNet, usual and smallest, computed by the planner."""
    usual = plan_sampling(UNetConfig(), UNetCall(72, 128, 25, torch.float16), None, "fastest")
    smallest = plan_sampling(UNetConfig(), UNetCall(56, 96, 25, torch.float16), None, "smallest")
    yield 2 * UNET_WEIGHTS, usual.peak
    yield UNET_WEIGHTS, smallest.peak


def lora() -> Image.Image:
    """The same scene in another style beyond a line."""
    plain = Image.open(PICTURE).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    styled = ImageOps.colorize(ImageOps.posterize(plain, 2).convert("L"), "#1b1440", "#ffe9b0", "#c2417c")
    plain.paste(styled.crop((WIDTH // 2, 0, WIDTH, HEIGHT)), (WIDTH // 2, 0))
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.picture(plain, (0, 0), (WIDTH, HEIGHT))
    canvas.line([(WIDTH / 2, 0), (WIDTH / 2, HEIGHT)], TEXT, 3)
    canvas.box((WIDTH / 2 + 20, 20), (110, 44))
    canvas.text((WIDTH / 2 + 75, 42), "LoRA", 22, ACCENT)
    return canvas.reduced()


if __name__ == "__main__":
    main()
