"""Node help and translations, asked of a running host in the way that its page asks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from checks import locales
from tools.client import JSON, HostError
from tools.comfyui import REPOSITORY
from tools.host import PACK_NAME, Host
from tools.workflow import WORKFLOWS

DOCS = REPOSITORY / "web" / "docs"
EXAMPLES = REPOSITORY / "example_workflows"
NODES = sorted(page.stem for page in DOCS.glob("*.md"))
TRANSLATED = [language for language in locales.languages() if language != locales.SOURCE_LANGUAGE]
LANGUAGES = [locales.SOURCE_LANGUAGE, *TRANSLATED]
OTHER_NAME = "My_SVD-copy"  # without spaces: the host serves the web folder of no pack that has one in its name


@pytest.fixture(scope="module")
def renamed(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with the pack linked in under a name of the user's choice."""
    with Host(comfyui, tmp_path_factory.mktemp("renamed"), {OTHER_NAME: REPOSITORY}) as running:
        yield running


def fetch(host: Host, path: str) -> bytes | None:
    """What the host serves, None for 404."""
    try:
        return host.client.fetch(path)
    except HostError as error:
        if error.status != 404:
            raise
        return None


def help_page(host: Host, pack: str, node: str, language: str) -> tuple[str, str]:
    """The text that the page shows and the address that its pictures are relative to, as in ComfyUI's frontend."""
    base = f"/extensions/{pack}/docs/"
    page = fetch(host, f"{base}{node}/{language}.md") or fetch(host, f"{base}{node}.md")
    assert page is not None, f"{node} has no help"
    return page.decode(), base


def file_of(node: str, language: str) -> Path:
    return DOCS / (f"{node}.md" if language == locales.SOURCE_LANGUAGE else f"{node}/{language}.md")


def pictures(page: str) -> list[str]:
    return re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)


def our_nodes(info: JSON, pack: str) -> JSON:
    return {name: node for name, node in info.items() if node["python_module"] == f"custom_nodes.{pack}"}


def check_help(host: Host, pack: str, node: str, language: str) -> None:
    page, base = help_page(host, pack, node, language)
    assert page == file_of(node, language).read_text("utf-8")
    assert pictures(page)
    for picture in pictures(page):
        content = fetch(host, base + picture)
        assert content is not None, picture
        Image.open(io.BytesIO(content)).verify()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node", NODES)
def test_help_is_served_with_its_picture(host: Host, node: str, language: str) -> None:
    check_help(host, PACK_NAME, node, language)


def test_a_language_without_help_gets_english(host: Host) -> None:
    assert help_page(host, PACK_NAME, "SVD_Loader", "fi") == help_page(host, PACK_NAME, "SVD_Loader", "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_tells_of_every_input_and_output(object_info: JSON, language: str) -> None:
    nodes, names = our_nodes(object_info, PACK_NAME), locales.read(language)
    assert sorted(nodes) == NODES
    for node, info in nodes.items():
        page = file_of(node, language).read_text("utf-8")
        assert page.startswith(f"# {names[node]['display_name']}\n")
        inputs = {name for kind in ("required", "optional") for name in info["input"].get(kind, {})}
        assert not [name for name in inputs if f"`{name}`" not in page], node
        outputs = [output["name"] for output in names[node]["outputs"].values()]
        assert not [name for name in outputs if f"**{name}**" not in page], node


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_has_no_tables(language: str) -> None:
    """The panel that shows it is about 270 pixels wide, and cuts off what a table has beyond that."""
    assert not [node for node in NODES if re.search(r"^\|", file_of(node, language).read_text("utf-8"), re.M)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_quotes_what_the_code_says(language: str) -> None:
    """Sentences quoted as *"..."*, cut short by dots, stand so in the code."""
    code = "".join(
        path.read_text("utf-8") for root in ("nodes", "svd_core") for path in (REPOSITORY / root).rglob("*.py")
    )
    said = re.sub(r'"\n\s+f?"', "", code)
    quotes = [
        quote for node in NODES for quote in re.findall(r'\*"([^*]+)"\*', file_of(node, language).read_text("utf-8"))
    ]
    parts = [part.strip() for quote in quotes for part in quote.split("...") if part.strip()]
    assert parts
    assert not [part for part in parts if part not in said]


def test_the_page_loads_no_script_of_ours() -> None:
    """The host would load every one below web/ into every page."""
    assert not [path for path in (REPOSITORY / "web").rglob("*") if path.suffix in (".js", ".mjs", ".css", ".html")]


def test_translations_are_offered(host: Host, object_info: JSON) -> None:
    offered = host.client.get("/api/i18n")
    assert {language: offered[language]["nodeDefs"] for language in LANGUAGES} == {
        language: locales.read(language) for language in LANGUAGES
    }
    assert offered["en"]["nodeDefs"] == locales.texts(our_nodes(object_info, PACK_NAME))


def test_search_words_reach_the_page(object_info: JSON) -> None:
    for node in our_nodes(object_info, PACK_NAME).values():
        assert {"img2vid", "stable video", "image to video"} <= set(node["search_aliases"])


def test_another_folder_name_breaks_nothing(renamed: Host) -> None:
    """Nodes, help, translations and templates follow the name of the link."""
    assert sorted(our_nodes(renamed.client.get("/object_info"), OTHER_NAME)) == NODES
    for language in LANGUAGES:
        check_help(renamed, OTHER_NAME, "SVD_Sampler", language)
        assert renamed.client.get("/api/i18n")[language]["nodeDefs"] == locales.read(language)
    assert set(WORKFLOWS) <= set(renamed.client.get("/api/workflow_templates")[OTHER_NAME])
    for file in [f"{name}.json" for name in WORKFLOWS] + [path.name for path in EXAMPLES.glob("*.jpg")]:
        assert fetch(renamed, f"/api/workflow_templates/{OTHER_NAME}/{file}"), file
