"""The README's pictures of the page, from the screenshots that the browser tests leave in output/browser.

nox -s tests -- tests/browser && python -m docs.pictures.page_pictures
"""

from __future__ import annotations

from PIL import Image

from tools.comfyui import REPOSITORY

SCREENSHOTS = REPOSITORY / "output" / "browser"
PICTURES = {  # of docs: the screenshot, and the part of it as left, top, right, bottom
    "graph": ("graph", (60, 38, 1600, 900)),
    "help": ("help_SVD_VAEEncodeConditioning", (740, 38, 1600, 900)),
}


def main() -> None:
    for name, (screenshot, part) in PICTURES.items():
        with Image.open(SCREENSHOTS / f"{screenshot}.png") as page:
            page.convert("RGB").crop(part).save(REPOSITORY / "docs" / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
