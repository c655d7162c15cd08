"""A hook of mkdocs: pages and files outside docs/ join the site, at the same place relative to each other.

README.md is the first page. Links are written for the forge, from where the file lies in the repository; here they are
rewritten for the site, in which docs/ is the root.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
FILES = ("LICENSE", "examples/*.py", "example_workflows/**/*.json", "benchmarks/results/*.png", "web/docs/**/*.*")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    add_file(files, config, "README.md", "index.md")
    for pattern in PAGES + FILES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            add_file(files, config, name, name)
    return files


def add_file(files: Files, config: MkDocsConfig, name: str, place: str) -> None:
    file = File.generated(config, place, abs_src_path=str(ROOT / name))
    if name.startswith("web/"):
        file.inclusion = InclusionLevel.NOT_IN_NAV
    files.append(file)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ and into it lose the folder: `../LICENSE` and `docs/memory.md` stand at the root."""
    if page.file.src_uri.startswith("web/"):
        return re.sub(r"\]\(pictures/", f"]({'../' * page.file.src_uri.endswith('zh.md')}pictures/", markdown)
    return re.sub(r"(\]\()(?:\.\./|docs/)", r"\1", markdown)
