"""The example workflows, in one place: writes both forms of each into `example_workflows/`.

    python -m checks.examples

Starts a ComfyUI to ask it for its nodes. Thumbnails are drawn by `docs/pictures/draw_thumbnails.py`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tools.client import JSON
from tools.comfyui import find_comfyui
from tools.host import Host
from tools.workflow import FOLDER

from .page import Node, Page

DEMO = "svd_demo (bundled)"
COMET, COMET_LAST, BOAT = "svd_demo_comet.png", "svd_demo_comet_last.png", "sailing_boat.png"
COLUMNS = ("Model and picture", "Conditioning", "Sampling", "Frames and video")

SVD_XT: JSON = {
    "name": "svd_xt.safetensors",
    "url": "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt/resolve/main/svd_xt.safetensors",
    "directory": "checkpoints",
}
DEMO_SIZE: dict[str, Any] = {"width": 96, "height": 96, "video_frames": 14}
DEMO_CFG: dict[str, Any] = {"min_cfg": 1.0, "max_cfg": 1.5}

WEIGHTS = """
The weights have a licence of their own, the [Stability AI Community License](https://stability.ai/license): free \
for research, and for commercial use below its revenue limit. Accept it on the page of the model before you \
download.
"""
DEMO_WEIGHTS = """
Code and demo model: Apache-2.0. The released checkpoints have a licence of their own, the [Stability AI Community \
License](https://stability.ai/license).
"""

IMAGE_TO_VIDEO = f"""## Image to video, ready to run

Press **Run**. The picture and the model ship with SVD Nodes: nothing to download, a few seconds on any machine.

The picture shows where it will go; `motion_bucket_id` in **VAE Encode Conditioning** says how fast (0 stands still, \
255 is fastest), and a higher `fps` cuts the same motion into smaller steps.

This small model was trained on drawn comets, rockets, fish and arrows of 96 x 96 pixels and **knows nothing else**. \
For real pictures open the example *image_to_video_xt*, or pick an official checkpoint in **SVD Loader** and set \
1024 x 576, 25 frames and `max_cfg` 3.
{DEMO_WEIGHTS}"""

XT = f"""## Image to video with Stable Video Diffusion

1. Put an official checkpoint into `models/checkpoints` and pick it in **SVD Loader**: `svd.safetensors` (14 \
frames), `svd_xt.safetensors` or `svd_xt_1_1.safetensors` (25 frames).
2. Pick a picture in **Load Image**. **SVD Fit Size** sets the size nearest to its shape; take it out to set `width` \
and `height` yourself.
3. Run. **Save Video** shows the clip and keeps it in `output/video`.

More motion: raise `motion_bucket_id`. Calmer and closer to the picture: lower it, or lower `augmentation_level`. \
Another motion: another `seed` in **SVD Sampler**.
{WEIGHTS}"""

LOW_MEMORY = f"""## Low memory

The settings that take least, all at once; put back what your card can do:

- **SVD Loader**, `weight_dtype` `fp8_e4m3fn`: the UNet takes 1.5 GB instead of 3. Its rounding changes the clip a \
little.
- **VAE Encode Conditioning**, `width` and `height`: below the trained 1024 x 576, with fewer details.
- **SVD Sampler**, `memory` `smallest`, and **Temporal VAE Decode**, `frames_at_once` 1: both work in small pieces. \
The clip is the same as in one go.
{WEIGHTS}"""

LORA = f"""## LoRA

Put a LoRA made for Stable Video Diffusion into `models/loras` and pick it in **SVD LoRA**. The log says how many of \
its layers matched. LoRAs of image models do not fit. Several in a row add up.

`strength` 1 is what it was trained for; lower is weaker, negative the opposite.

A LoRA has the licence that its author gave it.
{WEIGHTS}"""

SEEDS = f"""## Several seeds, one contact sheet

SVD makes another motion for every seed. **SVD Sampler** makes six clips here (`clips`), with `seed`, `seed` + 1 and \
so on; **SVD Contact Sheet** plays them side by side, each with its seed.

Look at the sheet, set `pick` to the number you like, and press **Run** again: nothing is sampled anew, and the \
second video is the clip you picked. It runs with the bundled demo model; with a released checkpoint each clip takes \
minutes, so begin with four.
{DEMO_WEIGHTS}"""

FIRST_AND_LAST = f"""## First and last frame

Press **Run**. Two pictures are given, and the clip between them is made: one **SVD Hold Frames** fixes frame `0`, the \
first, and another frame `-1`, the last.

`frame_ids` may be any frames, several at once with a picture for each, and `hold_mask` holds parts of them. Choose \
pictures that lie about as far apart as the model moves in a clip: here `motion_bucket_id` 255. **SVD Colour Match** \
brings the colours of all frames back to the first picture's.

The small model knows drawn comets, rockets, fish and arrows only. For real pictures pick an official checkpoint in \
**SVD Loader** and set 1024 x 576, 25 frames and `max_cfg` 3.
{DEMO_WEIGHTS}"""

NATIVE = f"""## Mixed with ComfyUI's own nodes

Every socket is ComfyUI's own, so nodes can be swapped one by one. Here **CLIP Vision Encode**, \
**VideoLinearCFGGuidance** and **KSampler** are ComfyUI's; the loader, the conditioning and the decode come from SVD \
Nodes. `crop` is *none*, since the model was trained on the whole picture; `cfg` is the guidance at the last frame \
and `min_cfg` that at the first.

Any sampler and scheduler, LoRA loader, patch or compile node of ComfyUI goes in between.
{DEMO_WEIGHTS}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as base, Host(find_comfyui(), Path(base)) as host:
        info = host.client.get("/object_info")
    for name, page in pages().items():
        write(FOLDER / f"{name}.json", page.ui(name, info))
        write(FOLDER / "api" / f"{name}.json", page.api(info))


def pages() -> dict[str, Page]:
    """Every example by the name of its files."""
    return {
        "first_and_last_frame": first_and_last_frame(),
        "image_to_video": image_to_video(),
        "image_to_video_xt": image_to_video_xt(),
        "low_memory": low_memory(),
        "lora": lora(),
        "native_mix": native_mix(),
        "several_seeds": several_seeds(),
    }


def first_and_last_frame() -> Page:
    page = Page(COLUMNS, FIRST_AND_LAST)
    model, picture = demo(page)
    last = page.add(0, "LoadImage", image=COMET_LAST)
    cond = conditioning(page, model, picture, **DEMO_SIZE, motion_bucket_id=255)
    begins = page.add(1, "SVD_HoldFrames", vae=model[2], latent=cond[2], pictures=picture[0], frame_ids="0")
    ends = page.add(2, "SVD_HoldFrames", vae=model[2], latent=begins[0], pictures=last[0], frame_ids="-1")
    inputs = {"model": model[0], "positive": cond[0], "negative": cond[1], "latent_image": ends[0]}
    latent = page.add(2, "SVD_Sampler", **inputs, **DEMO_CFG)
    matched = page.add(3, "SVD_ColourMatch", frames=frames(page, model, latent)[0], picture=picture[0])
    video(page, matched, cond, "svd_first_and_last")
    return page


def image_to_video() -> Page:
    page = Page(COLUMNS, IMAGE_TO_VIDEO)
    model, picture = demo(page)
    cond = conditioning(page, model, picture, **DEMO_SIZE)
    video(page, frames(page, model, sampled(page, model, cond, **DEMO_CFG)), cond, "svd_demo")
    return page


def image_to_video_xt() -> Page:
    page = Page(COLUMNS, XT)
    model, picture = released(page)
    cond = conditioning(page, model, picture, **fitted(page, model, picture))
    video(page, frames(page, model, sampled(page, model, cond)), cond, "svd")
    return page


def low_memory() -> Page:
    page = Page(COLUMNS, LOW_MEMORY)
    model, picture = released(page, weight_dtype="fp8_e4m3fn")
    cond = conditioning(page, model, picture, width=768, height=448)
    latent = sampled(page, model, cond, memory="smallest")
    video(page, frames(page, model, latent, frames_at_once=1), cond, "svd_low_memory")
    return page


def lora() -> Page:
    page = Page(COLUMNS, LORA)
    model = released_model(page)
    styled = page.add(0, "SVD_LoRA", model=model[0], lora="my_svd_lora.safetensors", strength=1.0)
    picture = page.add(0, "LoadImage", image=BOAT)
    cond = conditioning(page, model, picture, **fitted(page, model, picture))
    video(page, frames(page, model, sampled(page, styled, cond)), cond, "svd_lora")
    return page


def several_seeds() -> Page:
    page = Page((*COLUMNS[:3], "Contact sheet", "Picked clip"), SEEDS)
    model, picture = demo(page)
    cond = conditioning(page, model, picture, **DEMO_SIZE)
    latent = sampled(page, model, cond, control="fixed", clips=6, **DEMO_CFG)
    images = frames(page, model, latent)
    sheet = page.add(3, "SVD_ContactSheet", images=images[0], samples=latent[0])
    video(page, sheet, cond, "svd_seeds_sheet")
    video(page, sheet, cond, "svd_seeds_picked", column=4, output=1)
    return page


def native_mix() -> Page:
    page = Page(COLUMNS, NATIVE)
    model, picture = demo(page)
    embedding = page.add(1, "CLIPVisionEncode", clip_vision=model[1], image=picture[0], crop="none")
    cond = conditioning(page, model, picture, embedding, **DEMO_SIZE)
    guided = page.add(2, "VideoLinearCFGGuidance", model=model[0], min_cfg=DEMO_CFG["min_cfg"])
    latent = page.add(
        2,
        "KSampler",
        control="randomize",
        model=guided[0],
        positive=cond[0],
        negative=cond[1],
        latent_image=cond[2],
        steps=25,
        cfg=DEMO_CFG["max_cfg"],
        sampler_name="euler",
        scheduler="karras",
    )
    video(page, frames(page, model, latent), cond, "svd_native_mix")
    return page


def demo(page: Page) -> tuple[Node, Node]:
    """The bundled model, and the picture that goes with it."""
    return page.add(0, "SVD_Loader", checkpoint=DEMO), page.add(0, "LoadImage", image=COMET)


def released(page: Page, **settings: Any) -> tuple[Node, Node]:
    """The picture comes last in its column: on the page it takes as much height as it needs."""
    return released_model(page, **settings), page.add(0, "LoadImage", image=BOAT)


def released_model(page: Page, **settings: Any) -> Node:
    return page.add(0, "SVD_Loader", models=(SVD_XT,), checkpoint=SVD_XT["name"], **settings)


def fitted(page: Page, model: Node, picture: Node) -> dict[str, Any]:
    """Width and height in the picture's shape."""
    size = page.add(1, "SVD_FitSize", image=picture[0], model=model[0])
    return {"width": size[0], "height": size[1]}


def conditioning(page: Page, model: Node, picture: Node, embedding: Node | None = None, **settings: Any) -> Node:
    embedding = embedding or page.add(1, "SVD_CLIPImageEncode", clip_vision=model[1], image=picture[0])
    inputs = {"vae": model[2], "image": picture[0], "clip_vision_output": embedding[0]}
    return page.add(1, "SVD_VAEEncodeConditioning", **inputs, **settings)


def sampled(page: Page, model: Node, cond: Node, control: str = "randomize", **settings: Any) -> Node:
    inputs = {"model": model[0], "positive": cond[0], "negative": cond[1], "latent_image": cond[2]}
    return page.add(2, "SVD_Sampler", control=control, **inputs, **settings)


def frames(page: Page, model: Node, latent: Node, **settings: Any) -> Node:
    return page.add(3, "SVD_TemporalVAEDecode", vae=model[2], samples=latent[0], **settings)


def video(page: Page, images: Node, cond: Node, name: str, column: int = 3, output: int = 0) -> None:
    created = page.add(column, "CreateVideo", images=images[output], fps=cond[3])
    page.add(column, "SaveVideo", video=created[0], filename_prefix=f"video/{name}", format="auto", codec="auto")


def write(path: Path, content: JSON) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
