"""What people have in their folders: taken, or named; and one bad picture stops no other."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from svd_core import SVDPipeline, load_video
from svd_core.cli import main
from svd_core.cli.batch import Batch
from svd_core.cli.main import make_parser
from tests.support.random_lora import random_factors, write_lora

from .conftest import QUICK, Animate, files

HEIC = struct.pack(">I", 24) + b"ftypheic" + bytes(200)


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (20, 12), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.fixture
def album(desk: Path) -> Path:
    """A folder as people have them."""
    folder = desk / "album"
    folder.mkdir()
    for name in ("a.png", "b.webp", "c.jpg", "d.bmp", "e.tif", "f.gif"):
        Image.new("RGB", (20, 12), "teal").save(folder / name)
    Image.new("RGB", (20, 12), "teal").save(folder / "g.jfif", "JPEG")
    if ".avif" in Image.registered_extensions():
        Image.new("RGB", (20, 12), "teal").save(folder / "h.avif")
    Image.new("RGB", (20, 12), "teal").save(folder / "i.jpg_large", "JPEG")
    for name in ("walk.webp", "walk.gif", "sticker.png"):
        animated(folder / name)
    (folder / "IMG_1.heic").write_bytes(HEIC)
    (folder / "IMG_2.HEIC").write_bytes(HEIC)
    (folder / "clip.mp4").write_bytes(struct.pack(">I", 24) + b"ftypisom" + bytes(20))
    (folder / "notes.txt").write_text("buy milk")
    (folder / ".hidden").write_text("")
    (folder / "more").mkdir()
    return folder


def test_a_folder_gives_what_can_be_read_and_names_the_rest_once_before_the_first_clip(
    animate: Animate, album: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    said: list[str] = []

    def note(*_: object, **__: object) -> None:
        said.append(capsys.readouterr().err)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")  # enough

    monkeypatch.setattr(SVDPipeline, "__call__", note)
    assert animate("album", "-o", "out", "--seeds", "2") == 2
    err = said[0]
    for line in (
        "Left out of album, HEIC photos that cannot be read here (save them as JPEG or PNG): IMG_1.heic, IMG_2.HEIC",
        "Left out of album, animations (of one that is named, the first frame is taken): "
        "sticker.png, walk.gif, walk.webp",
        "Left out of album, videos: clip.mp4",
        "Left out of album, no pictures: notes.txt",
        "Left out of album, folders (name them, too): more",
        "Left out of album, pictures whose names do not say so (rename them to end in .png or .jpg): i.jpg_large",
    ):
        assert err.splitlines().count(line) == 1, (line, err)
    assert "hidden" not in err and len(err.splitlines()) == 6
    wanted = ["a", "b", "c", "d", "e", "f", "g"] + ["h"] * (album / "h.avif").exists()
    rest = capsys.readouterr().err + "".join(said[1:])
    assert all(f"{name}_seed1.mp4 was not made" in rest for name in wanted) and "Left out" not in rest


@pytest.mark.parametrize("format", ["mp4", "webp", "png"])
def test_clips_of_this_command_are_not_called_left_out(animate: Animate, desk: Path, format: str, capsys) -> None:
    for _ in range(2):
        assert animate("pictures", "-o", "pictures", "--format", format) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_of_nothing_but_heic_says_so(animate: Animate, desk: Path, capsys) -> None:
    Path("phone").mkdir()
    Path("phone/IMG_1.heic").write_bytes(HEIC)
    assert animate("phone", "-o", "out") == 2
    first, last = capsys.readouterr().err.splitlines()
    assert "HEIC photos" in first and "There are no pictures in phone" in last


def test_bad_pictures_of_every_kind_stop_no_other(animate: Animate, desk: Path, capsys) -> None:
    """The first three raised what nothing caught: before the first clip, or in the middle."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("black", "red")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    bad = Path("bad")
    bad.mkdir()
    shutil.copy("pictures/0.png", bad / "good.png")
    shutil.copy("pictures/1.png", bad / "z.png")
    (bad / "m.webp").write_bytes(buffer.getvalue()[:73])
    (bad / "n.gif").write_bytes(buffer.getvalue()[:12])
    (bad / "o.jpg").write_bytes(HEIC)
    (bad / "p.png").write_bytes(Path("pictures/2.png").read_bytes()[:600])
    (bad / "q.png").write_bytes(b"")
    Image.fromarray(np.full((4, 4), 700, np.int32)).save(bad / "r.tif")
    long = "x" * 5000 + ".png"
    assert animate("bad", "missing.png", long, "-o", "out") == 1
    assert files(desk / "out") == ["good.mp4", "z.mp4"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "was not made" in line]
    names = {line.split()[1] for line in lines}
    assert len(lines) == 8 and names > {"m.mp4", "n.mp4", "o.mp4", "p.mp4", "q.mp4", "r.mp4", "missing.mp4"}
    words = {"o.mp4": "HEIC", "q.mp4": "is empty", "r.mp4": "8, 10, 12 or 16 bits", "missing.mp4": "does not exist"}
    for name, word in words.items():
        assert any(line.startswith(f"svd-nodes: {name} was not made") and word in line for line in lines)


def test_a_picture_too_large_for_the_memory_stops_no_other(
    animate: Animate, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    call = SVDPipeline.__call__

    def fill_memory(self: SVDPipeline, picture: Image.Image, **arguments: object) -> object:
        if "1.png" in str(getattr(picture, "filename", "")):
            raise MemoryError
        return call(self, picture, **arguments)

    monkeypatch.setattr(SVDPipeline, "__call__", fill_memory)
    assert animate("pictures", "-o", "out") == 1
    assert files(desk / "out") == ["0.mp4", "2.mp4"]
    assert "1.mp4 was not made: memory ran out" in capsys.readouterr().err


def test_of_an_animation_that_is_named_the_first_frame_is_taken_with_a_word(
    animate: Animate, desk: Path, capsys
) -> None:
    animated(Path("walk.gif"))
    Image.new("RGB", (20, 12), "red").save("still.png")
    assert animate("walk.gif", "still.png", "-o", "out", "--format", "gif", "--seeds", "2") == 0
    err = capsys.readouterr().err
    assert err.splitlines() == ["walk.gif is an animation of 3 frames; its first frame is taken."]
    pair = (load_video(f"out/{name}_seed0.gif").frames for name in ("walk", "still"))
    assert np.array_equal(*pair)


def test_pictures_that_would_come_out_black_do_not(animate: Animate, desk: Path) -> None:
    """A ramp as floats, and as whole numbers in 32 bits, is the same picture as in 8 bits."""
    ramp = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(ramp).save("l.tif")
    Image.fromarray((ramp / 255).astype(np.float32)).save("f.tif")
    Image.fromarray(ramp.astype(np.int32)).save("i.tif")
    assert animate("l.tif", "f.tif", "i.tif", "-o", "out", "--format", "png") == 0
    wanted, *others = (load_video(f"out/{name}").frames.astype(int) for name in "lfi")
    assert all(np.abs(each - wanted).max() <= 1 for each in others)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_is_upright_as_picture_held_frame_and_mask(
    animate: Animate, desk: Path, orientation: int
) -> None:
    levels = np.zeros((16, 32, 3), np.uint8)
    levels[:8, :8] = 255
    upright = Image.fromarray(levels)
    inverse = (None, None, 0, 3, 1, 5, 2, 6, 4)[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(Image.Transpose(inverse))
    stored.save("turned.png", exif=exif)
    upright.save("upright.png")
    clips = []
    for name in ("upright.png", "turned.png"):
        words = [name, "-o", name[:4], "--format", "png", "--hold", f"0={name}", "--hold-mask", name]
        assert animate(*words) == 0
        clips.append(load_video(f"{name[:4]}/{Path(name).stem}").frames)
    assert np.array_equal(*clips)


# Where the clips go


@pytest.mark.parametrize(
    "out", ["out_v1.1", "out_v1.1/", "../svd-xt-1.1", "clips.new", "clip.mp4/", "there.mp4", "a.b/c.d", "x.avi/"]
)
def test_a_folder_may_have_a_dot_in_its_name(animate: Animate, desk: Path, out: str, monkeypatch) -> None:
    Path("there.mp4").mkdir()
    Path("below").mkdir()
    monkeypatch.chdir("below" if out.startswith("..") else ".")
    picture = desk / "pictures" / "0.png"
    assert animate(str(picture), "-o", out) == 0
    assert files(Path(out)) == ["0.mp4"]


@pytest.mark.parametrize("out", ["clip.avi", "clip.WMV", "clip.m4v", "frame.jpg", "frame.tif", "taken.1"])
def test_a_file_that_is_not_written_is_no_folder(animate: Animate, desk: Path, out: str, capsys) -> None:
    Path("taken.1").write_text("mine")
    assert animate("pictures", "-o", out) == 2
    assert f"{out} is neither a video nor a folder" in capsys.readouterr().err
    assert out == "taken.1" or not Path(out).exists()


# LoRAs of a dry run


def test_a_dry_run_looks_at_the_loras(animate: Animate, desk: Path, checkpoint: Path, capsys) -> None:
    from svd_core.checkpoints import open_checkpoint, unet_shapes

    shapes = unet_shapes(open_checkpoint(checkpoint).unet)
    write_lora(desk / "good.safetensors", random_factors(shapes), shapes, "peft")
    save_file({f"text_model.a.lora_{part}.weight": torch.zeros(4, 4) for part in ("down", "up")}, "other.safetensors")
    Path("no.safetensors").write_text("no")
    run = ("pictures/0.png", "-o", "out", "--dry-run", "--lora")
    assert animate(*run, "good.safetensors:0.8") == 0
    for name, words in (("none", "does not exist"), ("no", "no.safetensors"), ("other", "LoRA of another model")):
        capsys.readouterr()
        assert animate(*run, f"{name}.safetensors:0.8") == 2
        captured = capsys.readouterr()
        assert words in captured.err and not captured.out
    assert not Path("out").exists()


def test_a_lora_is_read_once(animate: Animate, desk: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from svd_core.checkpoints import open_checkpoint, unet_shapes
    from svd_core.checkpoints.lora import read_lora

    shapes = unet_shapes(open_checkpoint(checkpoint).unet)
    write_lora(desk / "a.safetensors", random_factors(shapes), shapes, "peft")
    options = make_parser().parse_args(
        ["animate", "pictures/0.png", "--checkpoint", str(checkpoint), *QUICK, "--lora", "a.safetensors"]
    )
    batch = Batch.from_options(options)
    monkeypatch.setattr("svd_core.pipeline.pipeline.read_lora", None)
    ((lora, strength),) = batch.loras
    assert strength == 1.0 and lora.layers.keys() == read_lora("a.safetensors", shapes).layers.keys()
    assert batch.run() == 0
    assert main(["show", "0.mp4"]) == 0
