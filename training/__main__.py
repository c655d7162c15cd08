"""Train the demo checkpoint, or measure a checkpoint on scenes it was never trained on.

python -m training train --out svd_demo.safetensors [--minutes 240] [--folder .cache/training]
python -m training evaluate svd_demo.safetensors [--scenes 32] [--sheet sheet.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from svd_core import SVDError, SVDPipeline
from svd_core.autoencoder import Autoencoder

from .autoencoder import new_autoencoder, train_autoencoder, train_temporal_decoder
from .curves import draw_curves
from .evaluate import Animator, Settings, contact_sheet, evaluate
from .export import export
from .scenes import evaluation_seeds
from .settings import STAGES, NoiseSettings
from .unet import new_denoiser, train_unet

FOLDER = Path(".cache/training")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    try:
        options.run(options)
    except SVDError as error:
        raise SystemExit(str(error)) from None


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
    command.set_defaults(run=train)
    command = commands.add_parser("evaluate", help="measure a checkpoint")
    command.add_argument("checkpoint", type=Path)
    command.add_argument("--scenes", type=int, default=32)
    command.add_argument("--steps", type=int, default=Settings.steps)
    command.add_argument("--max-cfg", type=float, default=Settings.max_cfg)
    command.add_argument("--sheet", type=Path, help="also draw a contact sheet")
    command.set_defaults(run=measure)
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    if options.out.exists() and not options.overwrite:
        raise SVDError(f"{options.out.name} exists already; give --overwrite to replace it, or another name.")
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)

    def seconds(stage: str) -> float | None:
        return options.minutes and 60.0 * options.minutes * STAGES[stage].share

    vae = new_autoencoder(options.seed)
    for stage, run in (("autoencoder", train_autoencoder), ("temporal_decoder", train_temporal_decoder)):
        finished = folder / f"{stage}.safetensors"
        if not finished.is_file():
            training = run(vae, folder, options.seed, seconds(stage))
            draw_curves(training.name, training.history, folder / f"{stage}.png")
            keep(vae, finished)
        vae.load_state_dict(load_file(finished))
    networks = new_denoiser(options.seed)
    training = train_unet(networks, vae, folder, options.seed, seconds("unet"), NoiseSettings())
    draw_curves(training.name, training.history, folder / "unet.png")
    export(options.out, networks.unet, vae, networks.clip)


def keep(vae: Autoencoder, path: Path) -> None:
    beside = path.with_name(path.name + ".part")
    save_file(vae.state_dict(), beside)
    beside.replace(path)


def measure(options: argparse.Namespace) -> None:
    pipe = SVDPipeline.from_checkpoint(options.checkpoint)
    animate = Animator(pipe, Settings(steps=options.steps, max_cfg=options.max_cfg))
    if options.sheet:
        contact_sheet(animate, options.sheet, evaluation_seeds(6))
    if options.scenes:
        print(json.dumps(evaluate(animate, evaluation_seeds(options.scenes)).summary(), indent=2))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
