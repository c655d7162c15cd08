"""Draw the pictures of the nodes' help pages. Only names of inputs are written in them, so every language shares them.

python -m tools.draw_help_pictures
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageOps

from svd_core.guidance import GUIDANCE_KINDS, guidance_scale
from svd_core.image import size_like

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


def contact_sheet() -> Canvas:
    """Clips of one picture with four seeds; one of them is picked."""
    canvas = Canvas(WIDTH, 330)
    boat = Image.open(BOAT)
    for index, shift in enumerate((-120, -40, 60, 130)):
        x, y = 40 + 230 * (index % 2), 40 + 130 * (index // 2)
        picked = index == 2
        moved = boat.transform(boat.size, Image.Transform.AFFINE, (1, 0, shift, 0, 1, 0), Image.Resampling.BILINEAR)
        canvas.picture(moved.crop((120, 40, 904, 481)), (x, y), (220, 124), ACCENT if picked else LINE)
        canvas.box((x, y), (96, 24), "#16181d", None, 0)
        canvas.text((x + 8, y + 12), f"{index + 1}: seed {42 + index}", 14, TEXT, "lm")
    canvas.text((267, 310), "sheet", 19)
    canvas.arrow((510, 232), (580, 232), ACCENT)
    canvas.text((545, 206), "pick 3", 17, ACCENT)
    moved = boat.transform(boat.size, Image.Transform.AFFINE, (1, 0, 60, 0, 1, 0), Image.Resampling.BILINEAR)
    canvas.picture(moved.crop((120, 40, 904, 481)), (600, 150), (240, 135), ACCENT)
    canvas.text((720, 310), "picked", 19, ACCENT)
    return canvas


def fit_size() -> Canvas:
    """Pictures of four shapes, and the size of the video for each."""
    canvas = Canvas(WIDTH, 250)
    area, multiple = 1024 * 576, 64
    for column, (width, height) in enumerate(((1920, 1080), (1200, 800), (1000, 1000), (1080, 1920))):
        w, h = size_like(width, height, area, multiple)
        middle, scale = 125 + 210 * column, 0.16
        canvas.box((middle - w * scale / 2, 105 - h * scale / 2), (w * scale, h * scale), PANEL, ACCENT, 2)
        canvas.text((middle, 105), f"{w}x{h}", 17, ACCENT)
        canvas.text((middle, 222), f"image {width}x{height}", 17, QUIET)
    return canvas


PICTURES = {
    "SVD_Loader": loader,
    "SVD_CLIPImageEncode": clip_encode,
    "SVD_VAEEncodeConditioning": conditioning,
    "SVD_Sampler": sampler,
    "SVD_TemporalVAEDecode": decode,
    "SVD_LoRA": lora,
    "SVD_ContactSheet": contact_sheet,
    "SVD_FitSize": fit_size,
}

if __name__ == "__main__":
    main()
