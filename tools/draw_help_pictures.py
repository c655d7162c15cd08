"""Draw the pictures of the nodes' help pages. Only names of inputs are written in them, so every language shares them.

python -m tools.draw_help_pictures
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from svd_core.guidance import GUIDANCE_KINDS, guidance_scale
from svd_core.schedules import sigmas

from .canvas import ACCENT, BACKGROUND, GREEN, LINE, PANEL, QUIET, RED, SOCKETS, TEXT, WARM, Canvas, Point
from .comfyui import REPOSITORY

FOLDER = REPOSITORY / "web" / "docs" / "pictures"
BOAT = REPOSITORY / "example_workflows" / "sailing_boat.png"
WIDTH = 880
STEP = 57.5  # from frame to frame of a film strip
FRAMES = 14
MOTIONS = (  # label, pixels between two frames, colour
    ("motion_bucket_id 60", 14, ACCENT),
    ("motion_bucket_id 180", 40, ACCENT),
    ("fps 7", 30, WARM),
    ("fps 14", 15, WARM),
)


def main() -> None:
    for name, draw in PICTURES.items():
        draw().save(FOLDER / f"{name}.png")


def loader() -> Canvas:
    """One file, three parts."""
    canvas = Canvas(WIDTH, 260)
    canvas.box((50, 70), (270, 120))
    canvas.text((185, 112), "svd_xt.safetensors", 22)
    canvas.text((185, 152), "checkpoint", 17, QUIET)
    canvas.line([(320, 130), (370, 130)], QUIET)
    for row, (socket, use) in enumerate(
        {"MODEL": "SVD Sampler", "CLIP_VISION": "CLIP Image Encode", "VAE": "VAE Encode / Decode"}.items()
    ):
        y = 60 + 70 * row
        canvas.line([(370, 130), (370, y), (410, y)], SOCKETS[socket])
        canvas.dot((410, y), 8, SOCKETS[socket])
        canvas.text((430, y), socket, 19, SOCKETS[socket], "lm")
        canvas.arrow((580, y), (630, y))
        canvas.text((645, y), use, 19, TEXT, "lm")
    return canvas


def clip_encode() -> Canvas:
    """What CLIP sees of a wide picture in each way of fitting."""
    boat = Image.open(BOAT)
    side = min(boat.size)
    canvas = Canvas(WIDTH, 270)
    canvas.picture(boat, (30, 48), (270, 152))
    canvas.text((165, 230), "image", 19)
    canvas.arrow((315, 124), (365, 124))
    ways = {
        "squash": boat.resize((side, side)),
        "center crop": ImageOps.fit(boat, (side, side)),
        "pad": ImageOps.pad(boat, (side, side)),
    }
    for column, (name, square) in enumerate(ways.items()):
        x = 377 + 162 * column
        canvas.picture(square, (x, 48), (152, 152), ACCENT if name == "squash" else LINE)
        canvas.text((x + 76, 230), name, 19, ACCENT if name == "squash" else TEXT)
    return canvas


def conditioning() -> Canvas:
    """A tall picture fitted to a wide video, and what motion_bucket_id and fps mean."""
    boat = Image.open(BOAT)
    tall = boat.crop((170, 0, 170 + 400, 576))
    canvas = Canvas(WIDTH, 476)
    canvas.picture(tall, (40, 36), (100, 144))
    canvas.text((90, 208), "image", 19)
    canvas.arrow((160, 108), (210, 108))
    ways = {
        "crop": ImageOps.fit(tall, (640, 360)),
        "pad": ImageOps.pad(tall, (640, 360)),
        "stretch": tall.resize((640, 360)),
    }
    for column, (name, wide) in enumerate(ways.items()):
        x = 232 + 212 * column
        canvas.picture(wide, (x, 52), (200, 112), ACCENT if name == "crop" else LINE)
        canvas.text((x + 100, 208), name, 19, ACCENT if name == "crop" else TEXT)
    canvas.line([(40, 244), (WIDTH - 40, 244)], PANEL, 2)
    for row, (label, step, colour) in enumerate(MOTIONS):
        motion(canvas, (40, 284 + 50 * row), label, step, colour)
    return canvas


def motion(canvas: Canvas, corner: Point, label: str, step: float, colour: str) -> None:
    """A ball on its way, seen in all frames at once."""
    x, y = corner
    canvas.text((x, y), label, 19, colour, "lm")
    for frame in range(FRAMES):
        canvas.dot((x + 260 + step * frame, y), 5, colour)


def sampler() -> Canvas:
    """Guidance over the frames, in the three kinds."""
    canvas = Canvas(WIDTH, 330)
    left, right, top, bottom = 140, 640, 60, 250
    canvas.line([(left, top - 25), (left, bottom + 12), (right + 25, bottom + 12)], LINE, 2)
    canvas.text((left - 16, top), "max_cfg", 18, QUIET, "rm")
    canvas.text((left - 16, bottom), "min_cfg", 18, QUIET, "rm")
    for row, name in enumerate(GUIDANCE_KINDS):
        scales = guidance_scale(name, 0.0, 1.0, FRAMES).tolist()
        points = [(left + i * (right - left) / (FRAMES - 1), bottom - y * (bottom - top)) for i, y in enumerate(scales)]
        colour = (ACCENT, WARM, GREEN)[row]
        canvas.line(points, colour, 3)
        for point in points:
            canvas.dot(point, 5, colour)
        canvas.dot((right + 70, 90 + 50 * row), 7, colour)
        canvas.text((right + 88, 90 + 50 * row), name, 20, colour, "lm")
    for frame in range(FRAMES):
        x = left + frame * (right - left) / (FRAMES - 1)
        canvas.text((x, bottom + 36), str(frame + 1), 15, QUIET)
    return canvas


def decode() -> Canvas:
    """Frames decoded in pieces, with seams between them, and as one clip; below, their brightness over time."""
    canvas = Canvas(WIDTH, 372)
    boat = Image.open(BOAT).crop((230, 120, 230 + 400, 120 + 400))
    ways = (("VAE Decode", (5, 5, 4), RED), ("Temporal VAE Decode", (FRAMES,), GREEN))
    for row, (label, pieces, colour) in enumerate(ways):
        y = 56 + 176 * row
        canvas.text((40, y - 26), label, 19, colour, "lm")
        starts = [sum(pieces[:index]) for index in range(len(pieces))]
        for start, length in zip(starts, pieces, strict=True):
            for frame in range(start, start + length):
                canvas.picture(boat, (40 + STEP * frame, y), (50, 50), BACKGROUND)
            x0, x1 = 40 + STEP * start, 40 + STEP * (start + length) - 8
            canvas.line([(x0, y + 60), (x0, y + 66), (x1, y + 66), (x1, y + 60)], colour, 2.5)
        brightness(canvas, (40, y + 94), starts, colour)
    return canvas


def brightness(canvas: Canvas, corner: Point, starts: Sequence[int], colour: str) -> None:
    """A smooth line, with a jump where a piece starts."""
    points = []
    for x in range(round(STEP * FRAMES) - 8):
        piece = sum(x >= STEP * start - 4 for start in starts)
        points.append((corner[0] + x, corner[1] + 5 * math.sin(x / 110) - 12 * (piece % 2 == 0)))
    canvas.line(points, colour, 2.5)


def lora() -> Canvas:
    """A LoRA between loader and sampler: of the model's layers it changes some, over time as well."""
    canvas = Canvas(WIDTH, 260)
    for x, label in ((40, "SVD Loader"), (340, "SVD LoRA"), (640, "SVD Sampler")):
        canvas.box((x, 90), (200, 80))
        canvas.text((x + 100, 130), label, 22)
    for x in (240, 540):
        canvas.line([(x, 130), (x + 100, 130)], SOCKETS["MODEL"])
        canvas.text((x + 50, 108), "MODEL", 17, SOCKETS["MODEL"])
    canvas.text((440, 205), "lora, strength", 17, QUIET)
    canvas.line([(440, 172), (440, 190)], QUIET)
    return canvas


def video_encode() -> Canvas:
    """A video, and how much of it the noise of some values of denoise leaves."""
    canvas = Canvas(WIDTH, 330)
    rng = np.random.default_rng(0)
    canvas.text((40, 30), "video", 19, QUIET, "lm")
    film(canvas, 56, pan())
    for column, denoise in enumerate((0.1, 0.2, 0.3, 0.5)):
        x = 40 + 205 * column
        boat = pan()[FRAMES // 2]
        pixels = np.asarray(boat, np.float32) / 127.5 - 1.0
        sigma = float(sigmas("karras", 25, denoise)[0])
        noisy = (pixels + sigma * rng.standard_normal(pixels.shape)) / math.sqrt(1.0 + sigma**2)
        picture = Image.fromarray((127.5 * (noisy.clip(-1, 1) + 1)).astype(np.uint8))
        canvas.picture(picture, (x, 140), (130, 130), ACCENT)
        canvas.text((x + 65, 300), f"denoise {denoise:g}", 18, ACCENT)
    return canvas


def hold_frames() -> Canvas:
    """A clip whose first and last frames are given; below, one with a part of every frame held."""
    canvas = Canvas(WIDTH, 300)
    frames = pan()
    canvas.text((40, 30), "frame_ids 0, -1", 19, ACCENT, "lm")
    film(canvas, 56, [faded(frame, 0 < index < FRAMES - 1) for index, frame in enumerate(frames)], {0, FRAMES - 1})
    for index in range(FRAMES):
        canvas.text((65 + STEP * index, 124), str(index), 15, ACCENT if index in (0, FRAMES - 1) else QUIET)
    canvas.text((40, 180), "frame_ids all, hold_mask", 19, ACCENT, "lm")
    mask = Image.new("L", frames[0].size)
    mask.paste(255, (0, 0, mask.width // 2, mask.height))
    canvas.picture(mask, (295, 158), (44, 44), ACCENT)
    kept = [faded(frame, True) for frame in frames]
    for frame in kept:
        frame.paste(frames[0], (0, 0), mask)
    film(canvas, 216, kept)
    return canvas


def latent_correction() -> Canvas:
    """Frames that fade, and the same evened out."""
    frames = pan()
    fading = [ImageEnhance.Contrast(frame).enhance(1.0 - 0.06 * index) for index, frame in enumerate(frames)]
    return before_and_after("samples", fading, "post_normalize", frames)


def colour_match() -> Canvas:
    """Frames whose colours drift, and the same with the picture's."""
    frames = pan()
    warm = Image.new("RGB", frames[0].size, "#ff9040")
    drifting = [Image.blend(frame, warm, 0.035 * index) for index, frame in enumerate(frames)]
    return before_and_after("frames", drifting, "strength 1", frames)


def before_and_after(name: str, before: Sequence[Image.Image], change: str, after: Sequence[Image.Image]) -> Canvas:
    canvas = Canvas(WIDTH, 260)
    canvas.text((40, 30), name, 19, QUIET, "lm")
    film(canvas, 56, before)
    canvas.text((40, 155), change, 19, ACCENT, "lm")
    film(canvas, 180, after, set(range(FRAMES)))
    return canvas


def pan() -> list[Image.Image]:
    """Squares of the boat's picture, each a little to the right of the one before."""
    boat = Image.open(BOAT).convert("RGB")
    return [boat.crop((200 + 12 * index, 88, 600 + 12 * index, 488)).resize((100, 100)) for index in range(FRAMES)]


def faded(frame: Image.Image, fades: bool) -> Image.Image:
    return Image.blend(frame, Image.new("RGB", frame.size, BACKGROUND), 0.6) if fades else frame


def film(canvas: Canvas, y: float, frames: Sequence[Image.Image], marked: Set[int] = frozenset()) -> None:
    for index, frame in enumerate(frames):
        canvas.picture(frame, (40 + STEP * index, y), (50, 50), ACCENT if index in marked else BACKGROUND)


PICTURES = {
    "SVD_Loader": loader,
    "SVD_CLIPImageEncode": clip_encode,
    "SVD_VAEEncodeConditioning": conditioning,
    "SVD_Sampler": sampler,
    "SVD_TemporalVAEDecode": decode,
    "SVD_LoRA": lora,
    "SVD_VideoEncode": video_encode,
    "SVD_HoldFrames": hold_frames,
    "SVD_LatentCorrection": latent_correction,
    "SVD_ColourMatch": colour_match,
}

if __name__ == "__main__":
    main()
