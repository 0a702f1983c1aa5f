"""uv and pip install the same versions, on every Python that is supported."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [(3, 11), (3, 12), (3, 13)]
LINUX = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
LINUX += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]

# Removed from the standard library by Python 3.12 and 3.13.
REMOVED = {
    "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "mailcap", "msilib",
    "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu",
    "xdrlib", "lib2to3", "asynchat", "asyncore", "imp", "smtpd", "distutils",
}  # fmt: skip


def test_constraints_are_what_uv_exports_of_its_lock():
    uv = pytest.importorskip("uv")
    command = [uv.find_uv_bin(), "export", "--quiet", "--offline", "--frozen", "--all-extras", "--no-hashes"]
    command += ["--no-emit-project", "--no-annotate", "--no-header"]
    exported = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "constraints.txt").read_text() == exported, "run `make lock`"


def test_the_lock_is_of_the_requirements_as_they_stand():
    (own,) = [package for package in LOCK["package"] if package["name"] == PROJECT["name"]]
    locked = {
        (
            entry["name"],
            ",".join(sorted(entry.get("specifier", "").split(","))),
            tuple(entry.get("extras", ())),
        )
        for entry in own["metadata"]["requires-dist"]
    }
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    stated = [Requirement(text) for group in lists for text in group]
    wanted = {
        (canonicalize_name(r.name), ",".join(sorted(map(str, r.specifier))), tuple(sorted(r.extras)))
        for r in stated
    }
    assert {(n, s, tuple(sorted(e))) for n, s, e in locked} == wanted, "run `make lock`"
    assert LOCK["requires-python"] == PROJECT["requires-python"]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda version: ".".join(map(str, version)))
def test_every_pin_has_a_wheel_or_a_source_for_each_supported_python(python):
    version = ".".join(map(str, python))
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    environment = {**default_environment(), "python_version": version, "python_full_version": f"{version}.0"}
    environment |= {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    tags = {*cpython_tags(python, platforms=LINUX), *compatible_tags(python, f"cp3{python[1]}", LINUX)}
    files = {(p["name"], p.get("version")): p for p in LOCK["package"]}
    checked = 0
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        pin = Requirement(line)
        if pin.marker is not None and not pin.marker.evaluate(environment):
            continue
        (specifier,) = pin.specifier
        package = files[canonicalize_name(pin.name), specifier.version]
        names = [wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", ())]
        fits = any(parse_wheel_filename(name)[3] & tags for name in names)
        assert fits or "sdist" in package, f"{line} has nothing for Python {version}"
        checked += 1
    assert checked > 100


@pytest.mark.parametrize("room", ["posrefine", "pipeline", "jobs"])
def test_the_code_is_written_for_the_oldest_python_and_uses_nothing_that_newer_ones_lack(room):
    for source in (ROOT / room).rglob("*.py"):
        tree = ast.parse(source.read_text(), feature_version=PYTHONS[0])
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not REMOVED & {name.partition(".")[0] for name in names}, source
