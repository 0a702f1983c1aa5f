"""Files of the repository as pages of the site, and links between them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["linked_files", "page_of", "site_path", "with_site_links"]

# Of Markdown, outside code: `[text](target)` and `[text](target#anchor)`; of a text its end.
_LINK = re.compile(r"(?P<text>[^\[\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".md": ""}
_SHOWN_CHARACTERS = 60_000


def linked_files(root: Path, pages: Iterable[str]) -> list[str]:
    """These pages, and all that they, and what they link to, link to, by path below `root`."""
    found, waiting = dict.fromkeys(pages), list(pages)
    while waiting:
        page = waiting.pop()
        if (root / page).is_dir():
            names = _listing(root, page)
        elif page.endswith(".md"):
            names = [_target(page, match["target"]) for match in _links((root / page).read_text())]
        else:
            continue
        for name in names:
            if name not in found and _is_page(root, name):
                found[name] = None
                waiting.append(name)
    return list(found)


def site_path(root: Path, name: str) -> str:
    """Where the site has a file or folder of the repository, as a page or picture below docs/."""
    if name == "README.md":
        return "index.md"
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if (root / name).is_dir():
        return f"source/{name}/index.md"
    if name.endswith(".md"):
        return name.lower() if "/" not in name else f"source/{name}"
    return f"source/{name}.md"


def page_of(root: Path, name: str) -> str:
    """The page of a file or folder that is none of docs/."""
    if (root / name).is_dir():
        rows = [f"- [{path}]({posixpath.relpath(path, name + '/..')})" for path in _listing(root, name)]
        return f"# {name}/\n\n" + "\n".join(rows) + "\n"
    text = (root / name).read_text()
    if name.endswith(".md"):
        return text
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "\n…"
    return f"# {name}\n\n````{_LANGUAGES.get(Path(name).suffix, '')}\n{text.rstrip()}\n````\n"


def with_site_links(root: Path, name: str, markdown: str, titles: Mapping[str, str]) -> str:
    """The page's text, whose links to files that are there lead to where the site has them.

    Args:
        root: of the repository.
        name: of the page, path below `root`.
        markdown: its text.
        titles: of pages by path in the site, for links that show the name of a page's file.
    """
    here = posixpath.dirname(site_path(root, name)) or "."

    def moved(match: re.Match[str]) -> str:
        target = _target(name, match["target"])
        if "://" in match["target"] or not (root / target).exists():
            return match[0]
        path, text = site_path(root, target), match["text"]
        if text == posixpath.basename(match["target"]):
            text = titles.get(path, text)
        return f"{text}]({posixpath.relpath(path, here)}{match['anchor'] or ''}"

    parts, end = [], 0
    for code in [*_CODE.finditer(markdown), None]:
        start = len(markdown) if code is None else code.start()
        parts.append(_LINK.sub(moved, markdown[end:start]))
        if code is not None:
            parts.append(code[0])
            end = code.end()
    return "".join(parts)


def _links(markdown: str) -> Iterable[re.Match[str]]:
    return _LINK.finditer(_CODE.sub("", markdown))


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _is_page(root: Path, name: str) -> bool:
    """Whether the site must be given it: it is there, and no file that MkDocs finds in docs/ by itself."""
    return (root / name).exists() and not name.startswith("docs/")


def _listing(root: Path, folder: str) -> list[str]:
    files = (path for path in sorted((root / folder).rglob("*")) if path.is_file())
    return [str(path.relative_to(root)) for path in files if "__pycache__" not in path.parts]
