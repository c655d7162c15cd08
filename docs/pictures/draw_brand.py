"""Draw the pack's icon and banner for the ComfyUI registry.

python -m docs.pictures.draw_brand
"""

from __future__ import annotations

from PIL import Image

from tools.comfyui import REPOSITORY

from .canvas import ACCENT, BACKGROUND, LINE, QUIET, TEXT, WARM, Canvas, Point

FOLDER = REPOSITORY / "docs"
BOAT = REPOSITORY / "example_workflows" / "sailing_boat.png"
ICON = 400  # the most the registry takes, square
BANNER = (1260, 540)  # 21:9
FRAME_COLOURS = ("#31506f", "#437cb0", ACCENT)  # of the frames of a clip, from the first on


def main() -> None:
    icon().save(FOLDER / "icon.png")
    banner().save(FOLDER / "banner.png")


def icon() -> Canvas:
    canvas = Canvas(ICON, ICON)
    mark(canvas, (48, 79), 304)
    return canvas


def banner() -> Canvas:
    canvas = Canvas(*BANNER)
    mark(canvas, (80, 84), 190)
    canvas.text((310, 150), "SVD Nodes", 76, TEXT, "lm")
    canvas.text((313, 218), "Stable Video Diffusion for ComfyUI", 32, QUIET, "lm")
    strip(canvas, 330)
    return canvas


def mark(canvas: Canvas, corner: Point, size: float) -> None:
    """Frames one behind the other, each further on than the last, the front one playing."""
    (x, y), side, step = corner, 0.68 * size, 0.16 * size
    height, radius = 0.82 * side, 0.09 * size
    for index, colour in enumerate(FRAME_COLOURS):
        at = (x + step * index, y + 0.75 * step * index)
        canvas.box(at, (side, height), fill=colour, line=BACKGROUND, radius=radius)
    centre = (x + 2 * step + side / 2, y + 1.5 * step + height / 2)
    triangle(canvas, centre, 0.16 * size)


def triangle(canvas: Canvas, centre: Point, reach: float) -> None:
    x, y = centre
    canvas.polygon([(x - 0.7 * reach, y - reach), (x + 1.1 * reach, y), (x - 0.7 * reach, y + reach)], WARM)


def strip(canvas: Canvas, top: float) -> None:
    """One picture, and the frames after it, in which the view moves on."""
    scene = Image.open(BOAT)
    height = 150
    for frame in range(5):
        view = scene.crop((30 + 52 * frame, 40, 30 + 52 * frame + 720, 40 + 480))
        canvas.picture(view, (80 + 224 * frame, top), (204, height), WARM if frame == 0 else LINE)


if __name__ == "__main__":
    main()
