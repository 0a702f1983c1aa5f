"""Downloads against a real server: cut connections, wrong bytes, two processes at once, no network."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.file_server import FileServer, serving

from posrefine.build import VARIANTS
from posrefine.errors import ConfigurationError, DownloadFailed, WeightsError
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, SKELETONS
from posrefine.test_protocols import TEST_PROTOCOLS
from posrefine.weights import ZOO, ZooEntry, load_weights, save_weights, zoo, zoo_table
from posrefine.weights import load as load_module
from posrefine.weights.download import cache_directory, fetch

NAME = "network-0a1b2c3d.pth"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSREFINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server():
    content = bytes(range(256)) * 20_000  # several chunks
    with serving(FileServer(content), NAME) as running:
        yield running


def entry_for(server: FileServer, name: str = "test:network", content: bytes | None = None) -> ZooEntry:
    digest = hashlib.sha256(server.content if content is None else content).hexdigest()
    return ZooEntry(name, server.url, digest[:8], "Apache-2.0", "dekr_w32", "coco", 512, "mmpose")


def in_cache() -> list[str]:
    return sorted(path.name for path in cache_directory().iterdir() if path.suffix != ".lock")


def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(server):
    seen = []
    first = fetch(entry_for(server), progress=lambda at_hand, total: seen.append((at_hand, total)))
    assert first.read_bytes() == server.content
    assert fetch(entry_for(server)) == first == cache_directory() / NAME
    assert server.ranges == [None]
    assert seen[-1] == (len(server.content), len(server.content))
    assert [at_hand for at_hand, _ in seen] == sorted(at_hand for at_hand, _ in seen)
    assert in_cache() == [NAME]


def test_a_download_tells_the_log_where_it_stands(server, caplog):
    with caplog.at_level(logging.INFO, logger="posrefine"):
        fetch(entry_for(server))
    first, *_, last = [record.getMessage() for record in caplog.records]
    assert first == f"weights test:network: downloading {server.url} to {cache_directory()}"
    assert last == "weights test:network: 5.1 MB of 5.1 MB (100%)"
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="posrefine"):
        fetch(entry_for(server))
    assert not caplog.records


def test_a_connection_cut_twice_in_the_body_is_continued_where_it_broke_off(server):
    server.cut_after_bytes = [1_500_000, 700_001]
    path = fetch(entry_for(server), retry_delay_s=0)
    assert path.read_bytes() == server.content
    assert server.ranges == [None, "bytes=1500000-", "bytes=2200001-"]


def test_a_process_that_died_in_the_middle_leaves_bytes_the_next_one_continues(server):
    part = cache_directory() / (NAME + ".part")
    part.parent.mkdir()
    part.write_bytes(server.content[:4000])
    assert fetch(entry_for(server)).read_bytes() == server.content
    assert server.ranges == ["bytes=4000-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server):
    server.honour_ranges = False
    server.cut_after_bytes = [1_500_000]
    assert fetch(entry_for(server), retry_delay_s=0).read_bytes() == server.content


@pytest.mark.parametrize("left", ["other bytes" * 100, "x" * 6_000_000], ids=["wrong-start", "too-long"])
def test_leftovers_of_another_file_are_dropped_and_the_download_begins_anew(server, left):
    part = cache_directory() / (NAME + ".part")
    part.parent.mkdir()
    part.write_text(left)
    assert fetch(entry_for(server), retry_delay_s=0).read_bytes() == server.content
    assert server.ranges[-1] is None


def test_an_overloaded_server_is_asked_again(server):
    server.statuses = [503, 429]
    assert fetch(entry_for(server), retry_delay_s=0).read_bytes() == server.content
    assert len(server.ranges) == 3


def test_a_server_that_keeps_failing_is_given_up_and_what_arrived_is_kept(server):
    server.cut_after_bytes = [1000] * 5
    with pytest.raises(DownloadFailed, match="ended after 5000 of 5120000 bytes"):
        fetch(entry_for(server), retry_delay_s=0)
    assert in_cache() == [NAME + ".part"]
    assert fetch(entry_for(server)).read_bytes() == server.content
    assert server.ranges[-1] == "bytes=5000-"


def test_a_missing_file_is_not_asked_for_again(server):
    server.statuses = [404] * 5
    with pytest.raises(DownloadFailed, match="404"):
        fetch(entry_for(server), retry_delay_s=0)
    assert len(server.ranges) == 1


def test_a_file_with_another_checksum_is_discarded_and_both_checksums_are_named(server):
    entry = entry_for(server, content=b"what the publisher meant")
    with pytest.raises(DownloadFailed) as caught:
        fetch(entry)
    found = hashlib.sha256(server.content).hexdigest()[:8]
    assert f"sha256 {found}..., wanted {entry.sha256_prefix}..." in str(caught.value)
    assert in_cache() == []


def test_a_cached_file_that_was_changed_is_refused_with_its_path(server):
    path = fetch(entry_for(server))
    path.write_bytes(b"changed")
    with pytest.raises(WeightsError, match=f"{path} has sha256 .*delete it"):
        fetch(entry_for(server))


def test_without_network_the_message_says_where_to_get_the_file_and_where_to_put_it():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{NAME}"
        entry = ZooEntry("test:network", url, "0a1b2c3d", "Apache-2.0", "dekr_w32", "coco", 512, "mmpose")
        with pytest.raises(DownloadFailed) as caught:
            fetch(entry, retry_delay_s=0)
    assert not isinstance(caught.value, ConfigurationError)  # the user named nothing wrong
    message = str(caught.value)
    assert "Connection refused" in message
    assert f"curl -fLO {url}" in message
    assert f"copy the file to {cache_directory() / NAME} " in message
    assert "POSREFINE_CACHE" in message
    assert in_cache() == []


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the directory should be")
    monkeypatch.setenv("POSREFINE_CACHE", str(blocked))
    with pytest.raises(WeightsError, match=f"{blocked}.*POSREFINE_CACHE"):
        fetch(entry_for(server))


def test_a_file_put_into_a_read_only_cache_by_hand_is_enough(server):
    directory = cache_directory()
    directory.mkdir()
    (directory / NAME).write_bytes(server.content)
    fetch(entry_for(server))
    assert server.ranges == []
    assert [path.name for path in directory.iterdir()] == [NAME]


CHILD = """
import sys
from posrefine.weights import ZooEntry
from posrefine.weights.download import fetch
url, prefix = sys.argv[1:]
print(fetch(ZooEntry("test:network", url, prefix, "Apache-2.0", "dekr_w32", "coco", 512, "mmpose")))
"""


def start_child(server: FileServer) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(zoo.__file__).parents[2])}
    command = [sys.executable, "-c", CHILD, server.url, entry_for(server).sha256_prefix]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_that_want_the_same_file_download_it_once(server):
    server.before_answer.clear()
    children = [start_child(server) for _ in range(2)]
    wait_for_request(server)
    time.sleep(1.0)  # the second process is at the lock by now, or would have asked too
    server.before_answer.set()
    for child in children:
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        assert Path(output.strip()).read_bytes() == server.content
    assert server.ranges == [None]


def test_the_lock_of_a_killed_process_does_not_stop_the_next_one(server):
    server.before_answer.clear()
    child = start_child(server)
    wait_for_request(server)
    child.kill()
    child.communicate(timeout=60)
    server.before_answer.set()
    assert fetch(entry_for(server)).read_bytes() == server.content


def wait_for_request(server: FileServer) -> None:
    deadline = time.monotonic() + 60
    while not server.ranges and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.ranges


def test_load_weights_takes_a_name_of_the_zoo(tmp_path, monkeypatch):
    wanted = ScoreNet(COCO)
    save_weights(wanted, tmp_path / "score.safetensors")
    with serving(FileServer((tmp_path / "score.safetensors").read_bytes()), "score.safetensors") as server:
        entry = entry_for(server, name="test:score")
        monkeypatch.setattr(load_module, "ZOO", {entry.name: entry})
        model = ScoreNet(COCO)
        info = load_weights(model, "test:score")
    assert info.origin == "test:score"
    assert info.sha256.startswith(entry.sha256_prefix)
    assert torch.equal(model.l1.weight, wanted.l1.weight)


def test_the_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("POSREFINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "posrefine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "posrefine"


@pytest.mark.parametrize("entry", ZOO.values(), ids=list(ZOO))
def test_every_entry_of_the_zoo_can_be_used_with_what_the_package_builds(entry):
    assert ZOO[entry.name] is entry
    assert re.fullmatch(r"[0-9a-f]{8}", entry.sha256_prefix)
    if not entry.bundled:
        assert entry.sha256_prefix in entry.file_name
        assert entry.url.startswith("https://download.openmmlab.com/mmpose/")
    assert entry.protocol in TEST_PROTOCOLS
    assert entry.skeleton is None or entry.skeleton in SKELETONS
    assert entry.variant == "score_net" or entry.variant in VARIANTS
    assert entry.input_size_px in (
        None,
        VARIANTS[entry.variant].input_size if entry.variant in VARIANTS else None,
    )


def test_file_names_in_the_cache_are_all_different():
    assert len({entry.file_name for entry in ZOO.values()}) == len(ZOO) == 10


def test_the_table_has_a_line_for_every_entry():
    lines = zoo_table().splitlines()
    assert len(lines) == len(ZOO) + 1
    for line, entry in zip(lines[1:], ZOO.values(), strict=True):
        assert line.startswith(entry.name)
        assert line.endswith(entry.url)
