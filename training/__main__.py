"""Train the demo checkpoint, or measure a checkpoint on scenes it was never trained on.

python -m training train --out svd_demo.safetensors [--minutes 240] [--folder .cache/training]
python -m training evaluate svd_demo.safetensors [--scenes 32] [--sheet sheet.png]
python -m training scene picture.png [--seed 7] [--size 96]
python -m training show docs/demo.webp example_workflows/image_to_video.jpg
python -m training colours svd_demo.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from svd_core import SVDError, SVDPipeline
from svd_core.checkpoints.releases import DEMO_CHECKPOINT
from svd_core.models.autoencoder import Autoencoder

from .autoencoder import new_autoencoder, train_autoencoder, train_temporal_decoder
from .colours import fit_colours
from .curves import draw_curves
from .evaluate import Animator, bars, evaluate
from .export import export
from .loop import best_device
from .pictures import animation, contact_sheet, thumbnail
from .scenes import EXAMPLE_SEED, evaluation_seeds, render, scene_of
from .settings import SIZE, STAGES, NoiseSettings
from .unet import new_denoiser, train_unet

FOLDER = Path(".cache/training")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    try:
        options.run(options)
    except SVDError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped. The same command goes on from the last saved state.") from None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train", help="train from scratch, or go on where a run was stopped")
    command.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    command.add_argument("--overwrite", action="store_true", help="replace a checkpoint that exists")
    command.add_argument("--minutes", type=float, help="budget for all stages; default: their full number of steps")
    command.add_argument("--folder", type=Path, default=FOLDER, help="where the state of the run is kept")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default=str(best_device()), help="default: %(default)s")
    command.set_defaults(run=train)
    command = commands.add_parser("evaluate", help="measure a checkpoint")
    command.add_argument("checkpoint", type=Path, nargs="?", default=DEMO_CHECKPOINT, help="default: the bundled one")
    command.add_argument("--scenes", type=int, default=32)
    command.add_argument("--sheet", type=Path, help="also draw a contact sheet")
    command.set_defaults(run=measure)
    command = commands.add_parser("scene", help="draw the first picture of a scene")
    command.add_argument("out", type=Path)
    command.add_argument("--seed", type=int, default=EXAMPLE_SEED, help="default: that of the example picture")
    command.add_argument("--size", type=int, default=SIZE)
    command.set_defaults(run=draw)
    command = commands.add_parser("show", help="draw what the bundled checkpoint makes of a few scenes")
    command.add_argument("animation", type=Path, help="for the README: the picture beside its clips")
    command.add_argument("thumbnail", type=Path, help="for the example workflow")
    command.set_defaults(run=show)
    command = commands.add_parser("colours", help="fit the colours that previews guess, for svd_core/releases.py")
    command.add_argument("checkpoint", type=Path, nargs="?", default=DEMO_CHECKPOINT, help="default: the bundled one")
    command.set_defaults(run=colours)
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    if options.out.exists() and not options.overwrite:
        raise SVDError(f"{options.out.name} exists already; give --overwrite to replace it, or another name.")
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)

    def seconds(stage: str) -> float | None:
        return options.minutes and 60.0 * options.minutes * STAGES[stage].share

    device = torch.device(options.device)
    vae = new_autoencoder(options.seed, device)
    for stage, run in (("autoencoder", train_autoencoder), ("temporal_decoder", train_temporal_decoder)):
        finished = folder / f"{stage}.safetensors"
        if not finished.is_file():
            training = run(vae, folder, options.seed, seconds(stage))
            draw_curves(training.name, training.history, folder / f"{stage}.png")
            keep(vae, finished)
        vae.load_state_dict(load_file(finished))
    networks = new_denoiser(options.seed, device)
    training = train_unet(networks, vae, folder, options.seed, seconds("unet"), NoiseSettings())
    draw_curves(training.name, training.history, folder / "unet.png")
    export(options.out, networks.unet, vae, networks.clip)


def keep(vae: Autoencoder, path: Path) -> None:
    beside = path.with_name(path.name + ".part")
    save_file(vae.state_dict(), beside)
    beside.replace(path)


def measure(options: argparse.Namespace) -> None:
    if options.sheet:
        animate = Animator(SVDPipeline.from_checkpoint(options.checkpoint))
        contact_sheet(animate, options.sheet, evaluation_seeds(6))
    if options.scenes:
        found = bars(evaluate(options.checkpoint, evaluation_seeds(options.scenes)))
        print(*found, sep="\n")
        if not all(bar.met for bar in found):
            raise SystemExit("Some bars are missed.")


def show(options: argparse.Namespace) -> None:
    animate = Animator(SVDPipeline.from_checkpoint(DEMO_CHECKPOINT, device="cpu"))
    animation(animate, options.animation)
    thumbnail(animate, options.thumbnail)


def colours(options: argparse.Namespace) -> None:
    for found in fit_colours(SVDPipeline.from_checkpoint(options.checkpoint, device="cpu").vae):
        print(np.array2string(found.numpy(), precision=3, separator=", "))


def draw(options: argparse.Namespace) -> None:
    (picture,) = render(scene_of(options.seed), options.size, 1)
    Image.fromarray((255.0 * picture).round().astype(np.uint8)).save(options.out)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    torch.backends.cuda.enable_flash_sdp(torch.cuda.is_available())  # on a CPU its backward pass takes twice the time
    main()
