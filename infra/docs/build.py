"""Builds the site of docs/ into site/: `make docs`.

    python infra/docs/build.py

Pages of docs/, README as the first one, a notebook that is executed, reference pages made from parsers,
settings, errors and docstrings, and files of the repository that pages link to are put into a folder, and
Zensical turns them into HTML. A link that leads nowhere, a page that is in no menu, or a cell that fails
ends it with code 1.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.docs.api import api_page  # noqa: E402
from infra.docs.commands import commands_page  # noqa: E402
from infra.docs.errors import errors_page  # noqa: E402
from infra.docs.repository import linked_files, page_of, site_path, with_site_links  # noqa: E402
from infra.docs.settings import settings_page  # noqa: E402

CONFIGURATION = ROOT / "infra/docs/zensical.toml"
GENERATED = {
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
    "reference/errors.md": errors_page,
    "reference/api.md": api_page,
}
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def main() -> None:
    """Build the site; what is wrong with it is said, and ends the process."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pages = work / "pages"
        write_pages(pages)
        build_html(work)
        write_for_programs(pages, work / "site")
        shutil.rmtree(ROOT / "site", ignore_errors=True)
        shutil.copytree(work / "site", ROOT / "site")
    print(f"{ROOT / 'site'}: open index.html")


def write_pages(to: Path) -> None:
    """Put every page, as Markdown, and every picture where the site has it."""
    shutil.copytree(ROOT / "docs/images", to / "images")
    shutil.copy(ROOT / "infra/docs/style.css", to)
    titles = {path: title for _, entries in menu() for title, path in entries}
    documents = [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
    for name in linked_files(ROOT, [*ROOT_PAGES, *documents]):
        write(to / site_path(ROOT, name), with_site_links(ROOT, name, page_of(ROOT, name), titles))
    for path, page in GENERATED.items():
        write(to / path, page())
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        write_notebook(notebook, to)


def write_notebook(notebook: Path, to: Path) -> None:
    """Execute it, and put it there as Markdown with its pictures."""
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import ExecutePreprocessor

    exporter = MarkdownExporter()
    exporter.register_preprocessor(ExecutePreprocessor(timeout=300), enabled=True)
    os.environ["PYTHONPATH"] = str(ROOT)
    text, _ = exporter.from_filename(str(notebook))
    # Pictures in the text itself are of no use to those who read the Markdown.
    for place, encoded in enumerate(re.findall(r"data:image/png;base64,([\w+/=]+)", text)):
        picture = f"images/{notebook.stem}_{place}.png"
        (to / picture).write_bytes(base64.b64decode(encoded))
        text = text.replace(f"data:image/png;base64,{encoded}", picture)
    write(to / f"{notebook.stem}.md", text)
    shutil.copy(notebook, to)


def build_html(work: Path) -> None:
    """Let Zensical turn the pages of a folder into HTML beside them."""
    unlisted = {str(path.relative_to(work / "pages")) for path in (work / "pages").rglob("*.md")}
    unlisted = {path for path in unlisted if not path.startswith("source/")}
    for _, entries in menu():
        for title, path in entries:
            if path not in unlisted:
                sys.exit(
                    f"{CONFIGURATION.name}: {title} = {path}: there is no such page, or it is listed twice"
                )
            unlisted.remove(path)
    if unlisted:
        sys.exit(f"{CONFIGURATION.name}: {', '.join(sorted(unlisted))}: in no menu; add each to `nav`")
    shutil.copy(CONFIGURATION, work)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if subprocess.run(command, cwd=work, env=environment, check=False).returncode:
        sys.exit("the site was not built: see above; names of pages are those below site/")


def write_for_programs(pages: Path, site: Path) -> None:
    """Put the pages' Markdown beside their HTML, and their list into llms.txt."""
    project = configuration()
    lines = [f"# {project['site_name']}", "", f"> {project['site_description']}"]
    for heading, entries in menu():
        lines += ["", f"## {heading}", ""]
        for title, path in entries:
            text = (pages / path).read_text()
            # Of the API, Markdown only names what is shown.
            address = path.replace(".md", ".html") if "\n::: " in text else path
            if address == path:
                write(site / path, text)
            lines.append(f"- [{title}]({address}): {first_sentence(text)}")
    write(site / "llms.txt", "\n".join(lines) + "\n")


def first_sentence(markdown: str) -> str:
    """Of the first paragraph of plain words, in one line."""
    in_code = False
    for paragraph in markdown.split("\n\n"):
        fences = paragraph.count("```")
        if not in_code and not fences and paragraph.strip() and paragraph.strip()[0] not in "#!|<[-":
            text = " ".join(paragraph.replace("**", "").split())
            return text.partition(". ")[0].rstrip(".:;") + "."
        in_code ^= fences % 2 == 1
    return ""


def configuration() -> dict[str, Any]:
    """Of the site, as Zensical reads it."""
    project: dict[str, Any] = tomllib.loads(CONFIGURATION.read_text())["project"]
    return project


def menu() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Headings with the titles and paths of their pages."""
    for section in configuration()["nav"]:
        for heading, entries in section.items():
            yield heading, [pair for entry in entries for pair in entry.items()]


def write(path: Path, text: str) -> None:
    """A file, in a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
