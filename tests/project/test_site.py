"""The site of docs/: built strictly, with pages from code that hold all commands, settings and errors."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infra.docs import build
from infra.docs.commands import commands, commands_page
from infra.docs.errors import errors_page, messages
from infra.docs.repository import linked_files, page_of, with_site_links
from infra.docs.settings import settings_page
from pipeline.exit_codes import ExitCode
from pipeline.settings.base import public_name
from pipeline.settings.jobs import ALL_SETTINGS
from posrefine import errors
from posrefine.errors import ImageStatus

ROOT = Path(__file__).parents[2]


def test_the_page_of_commands_has_the_help_of_every_job_and_subcommand():
    page = commands_page()
    for script in (ROOT / "jobs").glob("*.py"):
        if "job_parser(" in script.read_text() and script.name != "start.py":
            assert f"\n## {script.name}\n" in page
    for name in ("annotate.py retry-failed", "evaluate.py test-dev", "posrefine predict"):
        assert f"\n### {name}\n" in page
    assert "--price-per-device-hour X" in page


def test_the_page_of_settings_has_every_setting_of_every_job_with_its_default():
    page = settings_page()
    for kind in ALL_SETTINGS:
        for field in kind.model_fields:
            assert f"| `--{public_name(kind, field).replace('_', '-')}` |" in page
    assert "| `--unit-images` | whole number ≥ 1 | `128` |" in page
    assert "| `--input` | text | **required** |" in page
    assert "`auto`, `float32`, `bfloat16`" in page
    taking = {command.kind for command in commands() if command.is_whole} - {None}
    assert all(any(issubclass(kind, known) for kind in taking) for known in ALL_SETTINGS[:-1])


def test_the_page_of_errors_has_every_code_status_and_error_with_what_to_do():
    page = errors_page()
    assert all(f"\n| {code.value} | " in page for code in ExitCode)
    for status in ImageStatus:
        (row,) = re.findall(rf"^\| `{status}` \| (.*) \|$", page, re.MULTILINE)
        assert row
    for name in set(errors.__all__) - {"ImageStatus", "PosRefineError"}:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        if name != "ImageError":
            assert "\n\n" in str(getattr(errors, name).__doc__), (
                f"{name}: its docstring says nothing of what to do"
            )
    said = messages()
    assert sum(map(len, said.values())) > 200
    assert any("setting ‹name›: holds credentials" in text for text in said["ConfigurationError"])
    # Put together from two texts, of which the first ends in a blank.
    assert any("no image of this output has the sha256" in text for text in said["ConfigurationError"])


def test_links_lead_to_where_the_site_has_what_they_name(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra/rules.yaml").write_text("groups: []\n")
    (tmp_path / "docs/night.md").write_text("# Every night\n")
    text = (
        "[rules](../infra/rules.yaml), [night.md](night.md#gone), [all](../infra), `[no](link.md)`, [b](b.md)"
    )
    (tmp_path / "docs/page.md").write_text(text)

    found = linked_files(tmp_path, ["docs/page.md"])
    moved = with_site_links(tmp_path, "docs/page.md", text, {"night.md": "Every night"})

    assert found == ["docs/page.md", "infra/rules.yaml", "infra"]
    assert moved == (
        "[rules](source/infra/rules.yaml.md), [Every night](night.md#gone), [all](source/infra/index.md), "
        "`[no](link.md)`, [b](b.md)"
    )
    assert page_of(tmp_path, "infra/rules.yaml") == "# infra/rules.yaml\n\n````yaml\ngroups: []\n````\n"


def test_the_notebook_is_stored_without_what_it_printed():
    for notebook in (ROOT / "docs").glob("*.ipynb"):
        for cell in json.loads(notebook.read_text())["cells"]:
            assert not cell.get("outputs"), f"{notebook.name}, {cell['id']}: clear the outputs"
            assert cell.get("execution_count") is None


def test_every_page_of_docs_is_in_the_menu():
    listed = {path for _, entries in build.menu() for _, path in entries}
    pages = {path.with_suffix(".md").name for path in (ROOT / "docs").iterdir() if path.is_file()}
    assert pages <= listed, f"add them to nav in {build.CONFIGURATION.relative_to(ROOT)}"


class _Asked(HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "img", "link") and given.get("rel") != "canonical":
            self.addresses += [given[name] or "" for name in ("src", "href") if name in given]


@pytest.mark.slow
def test_the_site_is_built_strictly_and_stands_alone(tmp_path: Path):
    for tool in ("zensical", "mkdocstrings_handlers", "nbconvert", "ipykernel"):
        pytest.importorskip(tool)
    pages, site = tmp_path / "pages", tmp_path / "site"
    build.write_pages(pages)
    build.build_html(tmp_path)
    build.write_for_programs(pages, site)

    # The notebook ran: pictures and a table came out.
    notebook = (pages / "first_poses.md").read_text()
    assert re.search(r"!\[png\]\(images/\S+\.png\)", notebook)
    assert re.search(r"\d+ persons; columns: image_key, score, bbox", notebook)
    # Docstrings are on their page.
    assert "[N, K, 2] float32" in (site / "reference/api.html").read_text()
    listed = re.findall(r"^- \[.+?\]\((\S+?)\): (\S.*)$", (site / "llms.txt").read_text(), re.MULTILINE)
    assert len(listed) > 20
    assert all((site / address).is_file() for address, _ in listed)
    asked = _Asked()
    for page in site.rglob("*.html"):
        asked.feed(page.read_text())
    assert len(asked.addresses) > 100
    assert [address for address in asked.addresses if address.startswith(("http:", "https:", "//"))] == []

    with (pages / "inputs.md").open("a") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    with pytest.raises(SystemExit, match="was not built"):
        build.build_html(tmp_path)
    (pages / "alone.md").write_text("# Alone\n")
    with pytest.raises(SystemExit, match=r"alone\.md: in no menu"):
        build.build_html(tmp_path)
