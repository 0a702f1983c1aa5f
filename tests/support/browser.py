"""A real browser, without a window, and a server that hears whatever it asks for."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--disable-features=NetworkTimeServiceQuerying",
)  # fmt: skip
_TIMEOUT_S = 90


@dataclass
class Site:
    """Pages by path, and every path that was asked for; the browser takes all hosts for this one."""

    pages: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serving_pages(pages: dict[str, bytes]) -> Iterator[Site]:
    """Serves the pages for as long as the block lasts."""
    site = Site(pages)
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        page = self.site.pages.get(self.path)
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test output quiet."""


def read_dom(site: Site, path: str) -> str:
    """The page after the browser has read it and run what is in it."""
    return _run(site, path, "--dump-dom", "--virtual-time-budget=4000").stdout


def take_picture(
    site: Site, path: str, folder: Path, *, width_px: int, height_px: int, dark: bool = False
) -> NDArray[np.uint8]:
    """[H, W, 3] uint8: what a window of this size shows."""
    target = folder / "page.png"
    scheme = ("--blink-settings=preferredColorScheme=0",) if dark else ()
    _run(site, path, f"--window-size={width_px},{height_px}", f"--screenshot={target}", *scheme)
    return np.asarray(Image.open(target).convert("RGB"))


def _run(site: Site, path: str, *options: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium, and neither chromium nor google-chrome is on the PATH")
    with tempfile.TemporaryDirectory() as profile:
        every_host = f"--host-resolver-rules=MAP * 127.0.0.1:{site.port}"
        done = subprocess.run(
            [browser, *_QUIET, f"--user-data-dir={profile}", every_host, *options, site.url(path)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return done
