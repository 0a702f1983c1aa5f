"""Builds what a version consists of, and tries it: `make release`.

Into dist/ go the source archive, the wheel, a bill of materials (CycloneDX) of what constraints.txt pins, and
the image's lock with hashes. The README must render as PyPI renders it, and the wheel must predict in an
empty environment with what it asks for and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
BILL, IMAGE_LOCK = DIST / "sbom.cdx.json", DIST / "image-requirements.txt"


def main() -> None:
    """Build and try everything; the first step that fails ends it with its code."""
    python = sys.executable
    if DIST.exists() and any(DIST.iterdir()):
        sys.exit(f"{DIST} is not empty: it may hold an older version; remove it")
    run(python, "-m", "build", "--outdir", str(DIST), str(ROOT))
    archives = sorted([*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")])
    run(python, "-m", "twine", "check", "--strict", *map(str, archives))
    run(
        *(python, "-m", "cyclonedx_py", "requirements", str(ROOT / "constraints.txt")),
        *("--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(BILL), "--output-reproducible"),
    )
    run(
        *(python, "-m", "uv", "export", "--quiet", "--frozen", "--project", str(ROOT)),
        *("--extra", "pipeline", "--extra", "report", "--extra", "otlp", "--no-emit-project"),
        *("--output-file", str(IMAGE_LOCK)),
    )
    (wheel,) = DIST.glob("*.whl")
    try_wheel(wheel)
    names = ", ".join(sorted(path.name for path in DIST.iterdir()))
    print(f"{DIST}: {names}")


def try_wheel(wheel: Path) -> None:
    """Predict a rendered scene with the wheel, alone in an environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, command = Path(folder, "bin/python"), Path(folder, "bin/posrefine")
        constraints = str(ROOT / "constraints.txt")
        run(str(python), "-m", "pip", "install", "--quiet", "--constraint", constraints, str(wheel))
        picture, poses = Path(folder, "scene.png"), Path(folder, "poses.json")
        render = (
            "from PIL import Image; from posrefine.synthetic import EASY, render_scene; "
            f"Image.fromarray(render_scene(0, EASY).image).save({str(picture)!r})"
        )
        run(str(python), "-c", render, cwd=folder)
        run(str(command), "predict", str(picture), "--json", str(poses), cwd=folder)
        if not json.loads(poses.read_text()):
            sys.exit(f"{wheel.name}: predicted nothing, wanted the people of a rendered scene")


def run(*command: str, cwd: str | None = None) -> None:
    """A step, which must end with 0."""
    ended = subprocess.run(command, check=False, cwd=cwd)
    if ended.returncode:
        sys.exit(f"{' '.join(command[:6])} …: ended with {ended.returncode}; see above")


if __name__ == "__main__":
    main()
