"""What a release says of itself in several places is said alike, and its pages name what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from posrefine import __version__

ROOT = Path(__file__).parents[2]


def content_of(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_citation_is_of_this_version() -> None:
    assert content_of("CITATION.cff")["version"] == __version__


def test_every_image_that_examples_and_pages_name_is_of_this_version() -> None:
    texts = [*ROOT.glob("infra/**/*"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]
    named = {
        (path.name, version)
        for path in texts
        if path.is_file()
        for version in re.findall(rb"posrefine:(\d+\.\d+\.\d+)", path.read_bytes())
    }

    assert named
    assert [one for one in sorted(named) if one[1].decode() != __version__] == []


def test_the_workflow_takes_the_tag_of_this_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = content_of(".github/workflows/release.yaml")["jobs"]["build"]["steps"]
    check = next(step["run"] for step in steps if step.get("name") == "The tag is the version")

    for tag, code in ((f"v{__version__}", 0), ("v0.0.0", 1)):
        monkeypatch.setenv("GITHUB_REF_NAME", tag)
        assert subprocess.run(["sh", "-c", check], cwd=ROOT, check=False).returncode == code


@pytest.mark.parametrize("page", ["SECURITY.md", "CONTRIBUTING.md", "AGENTS.md"])
def test_the_pages_name_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`((?:tests|docs|benchmarks|pipeline|posrefine|jobs|infra)/[\w/.]*)`", text))
    named |= {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}

    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
