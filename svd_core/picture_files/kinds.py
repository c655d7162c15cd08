"""Kinds of files: which of them Pillow reads here, and what the others are."""

from __future__ import annotations

from pathlib import Path

# Pillow knows these, and does not read them as pictures: EPS starts another program, the rest have no decoder.
_NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
_HEADER = 64  # bytes that tell what a file is

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SAVE_AS = "save it as JPEG or PNG"
_SIGNATURES = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"II*\0\x10\0\0\0CR", "a raw photo"),
    (b"FUJIFILMCCD-RAW", "a raw photo"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_READ = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP"}
_MARKUP = ((b"<svg", "an SVG drawing"), (b"<?xml", "an XML file, such as an SVG drawing"), (b"<", "a web page"))


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
    """Say what a file is that is no picture, and what to do."""
    with path.open("rb") as file:
        start = file.read(_HEADER)
    if not start:
        return "is empty; save or download it again"
    if start[4:8] == b"ftyp":
        if start[8:12] in _HEIC_BRANDS:
            return f"is a HEIC photo, whatever its name says, and cannot be read here; {_SAVE_AS}"
        if start[8:12] in (b"avif", b"avis"):
            return f"is an AVIF picture, which cannot be read here; {_SAVE_AS}, or install Pillow 11.3 or newer"
        if start[8:12] == b"crx ":
            return f"is a raw photo, which cannot be read here; {_SAVE_AS}"
        return "is a video; take a picture out of it"
    for signature, kind in _SIGNATURES:
        if start.startswith(signature):
            return f"is {kind}, which cannot be read here; {_SAVE_AS}"
    if start.startswith(b"RIFF"):
        return "is a damaged WebP, or no picture; save or download it again"
    for signature, kind in _READ.items():
        if start.startswith(signature):
            return f"is a {kind} that is damaged or of a rare kind; save it again as JPEG or PNG"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for signature, kind in _MARKUP:
        if text.startswith(signature):
            return f"is {kind}; download or save the picture itself, as JPEG or PNG"
    return "is no picture of a known kind; save it as JPEG or PNG"
