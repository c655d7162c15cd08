"""Kinds of files: which of them Pillow reads here, and what the others are."""

from __future__ import annotations

from pathlib import Path

from ..errors import SVDError
from ..reading import check_file

# Pillow knows these, and does not read them as pictures: EPS starts another program, the rest have no decoder.
_NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
_HEADER = 64  # bytes that tell what a file is

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BRANDS = dict.fromkeys(_HEIC_BRANDS, "a HEIC photo") | {
    b"avif": "an AVIF picture", b"avis": "an AVIF picture", b"crx ": "a raw photo",
}  # fmt: skip
_READ = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP"}
_OTHERS = {
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"v/1\x01": "an OpenEXR picture",
    b"II*\0\x10\0\0\0CR": "a raw photo",
    b"FUJIFILMCCD-RAW": "a raw photo",
    b"%PDF": "a PDF",
    b"%!PS": "a PostScript file",
    b"\x1aE\xdf\xa3": "a video",
}
_MARKUP = {b"<svg": "an SVG drawing", b"<?xml": "an XML file, such as an SVG drawing", b"<": "a web page"}


def list_formats() -> list[str]:
    """Pillow's names of the formats that it reads here, plug-ins of the user included."""
    from PIL import Image

    Image.init()
    return [name for name in Image.OPEN if name not in _NO_PICTURES]


def is_picture_name(path: Path) -> bool:
    """True if the end of a name says that it is a picture which can be read here."""
    from PIL import Image

    return Image.registered_extensions().get(path.suffix.lower()) in list_formats()


def describe_unread(path: Path) -> str:
    """Say of a file that Pillow does not know what it is, and what to do."""
    start = _read_start(path)
    if not start:
        return "is empty; save or download it again"
    for signature, name in _READ.items():
        if start.startswith(signature) and not _identify(start):
            return f"is a {name} that is damaged or of a rare kind; save it again as JPEG or PNG"
    kind = _identify(start)
    if kind == "a video":
        return "is a video; take a picture out of it"
    if kind in _MARKUP.values():
        return f"is {kind}; download or save the picture itself, as JPEG or PNG"
    if not kind:
        return "is no picture of a known kind; save it as JPEG or PNG"
    return f"is {kind}, whatever its name says, and cannot be read here; save it as JPEG or PNG"


def describe_other(path: Path) -> str:
    """Say in a few words, for many alike, what files are whose names are not those of pictures."""
    try:
        start = _read_start(path)
    except (OSError, SVDError):
        return "files that cannot be read"
    if not _identify(start) and start.startswith(tuple(_READ)):
        return "pictures whose names do not say so (rename them to end in .png or .jpg)"
    kind = _identify(start)
    if kind in ("a HEIC photo", "a JPEG XL picture", "a raw photo", "an AVIF picture", "an OpenEXR picture"):
        return f"{kind.split(' ', 1)[1]}s that cannot be read here (save them as JPEG or PNG)"
    return "videos" if kind == "a video" else "no pictures"


def _read_start(path: Path) -> bytes:
    check_file(path)
    with path.open("rb") as file:
        return file.read(_HEADER)


def _identify(start: bytes) -> str:
    """What a file is by its first bytes; empty for pictures that Pillow reads, and for the unknown."""
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "a video")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((kind for signature, kind in _OTHERS.items() if start.startswith(signature)), "") or next(
        (kind for signature, kind in _MARKUP.items() if text.startswith(signature)), ""
    )
