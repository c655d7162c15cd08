"""Draw the pictures of the nodes' help pages. Only names of inputs are written in them, so every language shares them.

The page shows them in a panel of 270 pixels, at less than a third of their size: hence the large letters.

python -m docs.pictures.draw_help_pictures
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from svd_core.diffusion.guidance import GUIDANCE_KINDS, guidance_scale
from svd_core.diffusion.schedules import sigmas
from svd_core.images.pictures import size_like
from tools.comfyui import REPOSITORY

from .canvas import ACCENT, BACKGROUND, GREEN, LINE, PANEL, QUIET, RED, SOCKETS, TEXT, WARM, Canvas, Point

FOLDER = REPOSITORY / "web" / "docs" / "pictures"
BOAT = REPOSITORY / "example_workflows" / "sailing_boat.png"
WIDTH = 880
LETTERS, SMALL = 38, 30  # sizes of text; 11 and 9 pixels in the panel
STEP = 59  # from frame to frame of a film strip
FRAMES = 14
MOTIONS = (  # label, pixels between two frames, colour
    ("motion_bucket_id 60", 20, ACCENT),
    ("motion_bucket_id 180", 60, ACCENT),
    ("fps 7", 46, WARM),
    ("fps 14", 23, WARM),
)


def main() -> None:
    for name, draw in PICTURES.items():
        draw().save(FOLDER / f"{name}.png")


def loader() -> Canvas:
    """One file, three parts."""
    canvas = Canvas(WIDTH, 420)
    canvas.box((20, 140), (370, 140))
    canvas.text((205, 190), "svd_xt.safetensors", LETTERS)
    canvas.text((205, 244), "checkpoint", SMALL, QUIET)
    canvas.line([(390, 210), (450, 210)], QUIET, 5)
    for row, (socket, use) in enumerate(
        {"MODEL": "SVD Sampler", "CLIP_VISION": "CLIP Image Encode", "VAE": "VAE Encode / Decode"}.items()
    ):
        y = 80 + 130 * row
        canvas.line([(450, 210), (450, y), (510, y)], SOCKETS[socket], 5)
        canvas.dot((510, y), 12, SOCKETS[socket])
        canvas.text((545, y - 16), socket, LETTERS, SOCKETS[socket], "lm")
        canvas.text((545, y + 26), use, SMALL, TEXT, "lm")
    return canvas


def clip_encode() -> Canvas:
    """A wide picture as CLIP gets it, for each way of fitting."""
    boat = Image.open(BOAT)
    side = min(boat.size)
    canvas = Canvas(WIDTH, 640)
    canvas.picture(boat, (240, 24), (400, 225))
    canvas.text((660, 136), "image", LETTERS, anchor="lm")
    canvas.arrow((440, 262), (440, 306), width=5)
    ways = {
        "squash": boat.resize((side, side)),
        "center crop": ImageOps.fit(boat, (side, side)),
        "pad": ImageOps.pad(boat, (side, side)),
    }
    for column, (name, square) in enumerate(ways.items()):
        x = 20 + 285 * column
        canvas.picture(square, (x, 320), (270, 270), ACCENT if name == "squash" else LINE)
        canvas.text((x + 135, 614), name, LETTERS, ACCENT if name == "squash" else TEXT)
    return canvas


def conditioning() -> Canvas:
    """A tall picture fitted to a wide video, and what motion_bucket_id and fps mean."""
    boat = Image.open(BOAT)
    tall = boat.crop((170, 0, 170 + 400, 576))
    canvas = Canvas(WIDTH, 700)
    canvas.picture(tall, (20, 24), (140, 202))
    canvas.text((90, 252), "image", LETTERS)
    canvas.arrow((172, 126), (212, 126), width=5)
    ways = {
        "crop": ImageOps.fit(tall, (640, 360)),
        "pad": ImageOps.pad(tall, (640, 360)),
        "stretch": tall.resize((640, 360)),
    }
    for column, (name, wide) in enumerate(ways.items()):
        x = 224 + 217 * column
        canvas.picture(wide, (x, 68), (207, 116), ACCENT if name == "crop" else LINE)
        canvas.text((x + 103, 252), name, LETTERS, ACCENT if name == "crop" else TEXT)
    canvas.line([(20, 294), (WIDTH - 20, 294)], PANEL, 3)
    for row, (label, step, colour) in enumerate(MOTIONS):
        motion(canvas, (30, 328 + 96 * row), label, step, colour)
    return canvas


def motion(canvas: Canvas, corner: Point, label: str, step: float, colour: str) -> None:
    """A ball on its way, seen in all frames at once."""
    x, y = corner
    canvas.text((x, y), label, LETTERS, colour, "lm")
    for frame in range(FRAMES):
        canvas.dot((x + 10 + step * frame, y + 42), 9, colour)


def sampler() -> Canvas:
    """Guidance over the frames, in the three kinds."""
    canvas = Canvas(WIDTH, 500)
    left, right, top, bottom = 180, 830, 50, 320
    canvas.line([(left, top - 25), (left, bottom + 14), (right + 25, bottom + 14)], LINE, 3)
    canvas.text((left - 20, top), "max_cfg", LETTERS, QUIET, "rm")
    canvas.text((left - 20, bottom), "min_cfg", LETTERS, QUIET, "rm")
    for column, name in enumerate(GUIDANCE_KINDS):
        scales = guidance_scale(name, 0.0, 1.0, FRAMES).tolist()
        points = [(left + i * (right - left) / (FRAMES - 1), bottom - y * (bottom - top)) for i, y in enumerate(scales)]
        colour = (ACCENT, WARM, GREEN)[column]
        canvas.line(points, colour, 5)
        for point in points:
            canvas.dot(point, 9, colour)
        canvas.dot((80 + 270 * column, 450), 12, colour)
        canvas.text((106 + 270 * column, 450), name, LETTERS, colour, "lm")
    for frame in (1, FRAMES // 2, FRAMES):
        x = left + (frame - 1) * (right - left) / (FRAMES - 1)
        canvas.text((x, bottom + 50), str(frame), SMALL, QUIET)
    return canvas


def decode() -> Canvas:
    """Frames decoded in pieces, with seams between them, and as one clip; below, their brightness over time."""
    canvas = Canvas(WIDTH, 470)
    boat = Image.open(BOAT).crop((230, 120, 230 + 400, 120 + 400))
    ways = (("VAE Decode", (5, 5, 4), RED), ("Temporal VAE Decode", (FRAMES,), GREEN))
    for row, (label, pieces, colour) in enumerate(ways):
        y = 84 + 226 * row
        canvas.text((30, y - 34), label, LETTERS, colour, "lm")
        starts = [sum(pieces[:index]) for index in range(len(pieces))]
        for start, length in zip(starts, pieces, strict=True):
            for frame in range(start, start + length):
                canvas.picture(boat, (30 + STEP * frame, y), (52, 52), BACKGROUND)
            x0, x1 = 30 + STEP * start, 30 + STEP * (start + length) - 8
            canvas.line([(x0, y + 62), (x0, y + 72), (x1, y + 72), (x1, y + 62)], colour, 5)
        brightness(canvas, (30, y + 118), starts, colour)
    return canvas


def brightness(canvas: Canvas, corner: Point, starts: Sequence[int], colour: str) -> None:
    """A smooth line, with a jump where a piece starts."""
    points = []
    for x in range(round(STEP * FRAMES) - 8):
        piece = sum(x >= STEP * start - 4 for start in starts)
        points.append((corner[0] + x, corner[1] + 7 * math.sin(x / 110) - 20 * (piece % 2 == 0)))
    canvas.line(points, colour, 5)


def lora() -> Canvas:
    """A LoRA between loader and sampler: of the model's layers it changes some, over time as well."""
    canvas = Canvas(WIDTH, 270)
    for x, label in ((15, "SVD Loader"), (325, "SVD LoRA"), (635, "SVD Sampler")):
        canvas.box((x, 80), (230, 100))
        canvas.text((x + 115, 130), label, 34)
    for x in (245, 555):
        canvas.line([(x, 130), (x + 80, 130)], SOCKETS["MODEL"], 5)
        canvas.text((x + 40, 50), "MODEL", SMALL, SOCKETS["MODEL"])
    canvas.text((440, 234), "lora, strength", SMALL, QUIET)
    canvas.line([(440, 182), (440, 212)], QUIET)
    return canvas


def video_encode() -> Canvas:
    """A video, and how much of it the noise of some values of denoise leaves."""
    canvas = Canvas(WIDTH, 330)
    rng = np.random.default_rng(0)
    canvas.text((40, 30), "video", LETTERS, QUIET, "lm")
    film(canvas, 56, pan())
    for column, denoise in enumerate((0.1, 0.2, 0.3, 0.5)):
        x = 40 + 205 * column
        boat = pan()[FRAMES // 2]
        pixels = np.asarray(boat, np.float32) / 127.5 - 1.0
        sigma = float(sigmas("karras", 25, denoise)[0])
        noisy = (pixels + sigma * rng.standard_normal(pixels.shape)) / math.sqrt(1.0 + sigma**2)
        picture = Image.fromarray((127.5 * (noisy.clip(-1, 1) + 1)).astype(np.uint8))
        canvas.picture(picture, (x, 140), (130, 130), ACCENT)
        canvas.text((x + 65, 296), f"denoise {denoise:g}", SMALL, ACCENT)
    return canvas


def hold_frames() -> Canvas:
    """A clip whose first and last frames are given; below, one with a part of every frame held."""
    canvas = Canvas(WIDTH, 300)
    frames = pan()
    canvas.text((40, 30), "frame_ids 0, -1", LETTERS, ACCENT, "lm")
    film(canvas, 56, [faded(frame, 0 < index < FRAMES - 1) for index, frame in enumerate(frames)], {0, FRAMES - 1})
    for index in range(FRAMES):
        canvas.text((65 + STEP * index, 128), str(index), SMALL, ACCENT if index in (0, FRAMES - 1) else QUIET)
    canvas.text((40, 180), "frame_ids all, hold_mask", LETTERS, ACCENT, "lm")
    mask = Image.new("L", frames[0].size)
    mask.paste(255, (0, 0, mask.width // 2, mask.height))
    canvas.picture(mask, (500, 158), (44, 44), ACCENT)
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
    canvas.text((40, 30), name, LETTERS, QUIET, "lm")
    film(canvas, 56, before)
    canvas.text((40, 155), change, LETTERS, ACCENT, "lm")
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


def contact_sheet() -> Canvas:
    """Clips of one picture with four seeds; one of them is picked."""
    canvas = Canvas(WIDTH, 420)
    for index, shift in enumerate((-120, -40, 60, 130)):
        x, y = 20 + 285 * (index % 2), 20 + 170 * (index // 2)
        canvas.picture(moved_boat(shift), (x, y), (270, 152), ACCENT if index == 2 else LINE)
        canvas.box((x, y), (136, 44), "#16181d", None, 0)
        canvas.text((x + 10, y + 22), f"seed {42 + index}", SMALL, TEXT, "lm")
    canvas.text((297, 386), "sheet", LETTERS)
    canvas.arrow((590, 266), (640, 266), ACCENT, 5)
    canvas.text((755, 130), "pick 3", LETTERS, ACCENT)
    canvas.picture(moved_boat(60), (650, 205), (214, 120), ACCENT)
    canvas.text((755, 386), "picked", LETTERS, ACCENT)
    return canvas


def moved_boat(shift: float) -> Image.Image:
    boat = Image.open(BOAT)
    moved = boat.transform(boat.size, Image.Transform.AFFINE, (1, 0, shift, 0, 1, 0), Image.Resampling.BILINEAR)
    return moved.crop((120, 40, 904, 481))


def fit_size() -> Canvas:
    """Pictures of four shapes, and the size of the video for each."""
    canvas = Canvas(WIDTH, 320)
    area, multiple = 1024 * 576, 64
    for column, (width, height) in enumerate(((1920, 1080), (1200, 800), (1000, 1000), (1080, 1920))):
        w, h = size_like(width, height, area, multiple)
        middle, scale = 115 + 217 * column, 0.2
        canvas.box((middle - w * scale / 2, 130 - h * scale / 2), (w * scale, h * scale), PANEL, ACCENT, 2)
        canvas.text((middle, 130), f"{w}x{h}", SMALL, ACCENT)
        canvas.text((middle, 285), f"{width}x{height}", SMALL, QUIET)
    return canvas


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
    "SVD_ContactSheet": contact_sheet,
    "SVD_FitSize": fit_size,
}

if __name__ == "__main__":
    main()
