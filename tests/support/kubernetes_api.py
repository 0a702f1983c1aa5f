"""As much of a Kubernetes API server on 127.0.0.1 as the real kubectl wants for `create`, `apply` and `get`.

Simulated: it tells what kinds there are, judges objects as `fieldValidation=Strict` does, and keeps them. The
kinds of Kubernetes are judged by its schemas, those of operators by the models of `support.kuberay`. There is
nothing behind it: no controller, no pod, no authorization; what is there can be neither changed nor deleted.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]
from kubernetes_validate import validate  # type: ignore[import-untyped]
from pydantic import ValidationError as FieldsError
from support.kuberay import PodMonitor, RayCronJob, RayJob

__all__ = ["KubernetesAPI", "needs_kubectl", "serving_kubernetes"]

Object = dict[str, Any]
VERSION = "1.34"

needs_kubectl = pytest.mark.skipif(
    not (shutil.which("kubectl") and shutil.which("openssl")),
    reason="kubectl or openssl is not on this machine: `apt-get install kubernetes-client openssl`",
)


def _kubernetes_own(document: Object) -> None:
    validate(document, VERSION, strict=True)


@dataclass(frozen=True)
class _Kind:
    """A kind that the server knows; `judge` raises for an object that is none."""

    group_version: str
    name: str
    judge: Callable[[Object], object]

    @property
    def plural(self) -> str:
        return f"{self.name.lower()}s"

    @property
    def path(self) -> str:
        return f"/{'apis' if '/' in self.group_version else 'api'}/{self.group_version}"

    def discovered(self) -> Object:
        return {
            "name": self.plural,
            "singularName": self.name.lower(),
            "kind": self.name,
            "namespaced": True,
            "verbs": ["create", "get", "list", "patch"],
        }

    def operation(self) -> Object:
        """By which a newer kubectl finds out that objects are judged here."""
        group, _, version = self.group_version.rpartition("/")
        return {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": self.name},
            }
        }


KINDS = (
    _Kind("v1", "Secret", _kubernetes_own),
    _Kind("batch/v1", "CronJob", _kubernetes_own),
    _Kind("ray.io/v1", "RayJob", RayJob.model_validate),
    _Kind("ray.io/v1", "RayCronJob", RayCronJob.model_validate),
    _Kind("monitoring.coreos.com/v1", "PodMonitor", PodMonitor.model_validate),
)


@dataclass
class KubernetesAPI:
    """The server's side, and a kubectl that talks to it and to nothing else.

    Attributes:
        url: where it listens.
        home: a folder for kubectl's configuration and cache.
        objects: all that were made, by kind and name, as the server would give them back.
    """

    url: str
    home: Path
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """In which `kubectl` means this server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path = self.home / "kubeconfig.json"
        path.write_text(json.dumps(config))
        return {**os.environ, "HOME": str(self.home), "KUBECONFIG": str(path), "NO_PROXY": "127.0.0.1"}

    def run(self, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """A line of a shell, run in a folder; it may fail."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _answer(self, method: str, path: str, body: Object) -> tuple[HTTPStatus, Object]:
        """To one request."""
        for kind in KINDS:
            found = re.fullmatch(rf"{kind.path}/namespaces/default/{kind.plural}(?:/([^/]+))?", path)
            if found and method == "POST" and found[1] is None:
                return self._make(kind, body)
            if found and method == "GET" and found[1]:
                made = self.objects.get((kind.name, found[1]))
                return (HTTPStatus.OK, made) if made else _failure(HTTPStatus.NOT_FOUND, "NotFound", path)
        described = _description(path) if method == "GET" else None
        if described is None:
            return _failure(HTTPStatus.NOT_FOUND, "NotFound", f"{method} {path} is not simulated")
        return HTTPStatus.OK, described

    def _make(self, kind: _Kind, given: Object) -> tuple[HTTPStatus, Object]:
        # kubectl writes `creationTimestamp: null`, which to Kubernetes is the same as nothing.
        metadata = {name: value for name, value in given["metadata"].items() if value is not None}
        metadata.setdefault("namespace", "default")
        document = {**given, "metadata": metadata}
        key = (kind.name, metadata["name"])
        try:
            kind.judge(document)
        except (ValidationError, FieldsError) as error:
            return _failure(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", f"{kind.name} is invalid: {error}")
        if key in self.objects:
            return _failure(HTTPStatus.CONFLICT, "AlreadyExists", f"{kind.name} {key[1]} already exists")
        if kind.name == "Secret":
            plain = document.pop("stringData", {})
            coded = {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
            document["data"] = document.get("data", {}) | coded
            document.setdefault("type", "Opaque")
        self.objects[key] = document
        return HTTPStatus.CREATED, document


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of a Protobuf message whose fields are strings, bytes and other messages.

    Raises:
        AssertionError: it has another one.
    """

    def number(at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            value |= (message[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                return value, at

    at = 0
    while at < len(message):
        tag, at = number(at)
        if tag & 7 == 0:
            _, at = number(at)
            continue
        assert tag & 7 == 2, f"field {tag >> 3} is of wire type {tag & 7}"
        length, at = number(at)
        yield tag >> 3, message[at : at + length]
        at += length


def _secret(sent: bytes) -> Object:
    """A Secret of `k8s.io/api/core/v1/generated.proto`, in the envelope of Kubernetes' media type."""
    assert sent.startswith(b"k8s\0"), sent[:4]
    envelope = dict(_fields(sent[4:]))
    kind, secret = dict(_fields(envelope[1])), list(_fields(envelope[2]))
    assert (kind[1], kind[2]) == (b"v1", b"Secret"), kind
    metadata = dict(_fields(dict(secret)[1]))
    entries = [dict(_fields(entry)) for number, entry in secret if number == 2]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": metadata[1].decode()},
        "data": {entry[1].decode(): base64.b64encode(entry[2]).decode() for entry in entries},
    }


def _failure(status: HTTPStatus, reason: str, message: str) -> tuple[HTTPStatus, Object]:
    return status, {
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "reason": reason, "message": message, "code": status,
    }  # fmt: skip


def _description(path: str) -> Object | None:
    """What kubectl asks before it sends anything: versions, groups, kinds, and what the server can judge."""
    by_path: dict[str, list[_Kind]] = {}
    for kind in KINDS:
        by_path.setdefault(kind.path, []).append(kind)
    if path == "/version":
        major, minor = VERSION.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{VERSION}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [kinds[0].group_version for kinds in by_path.values() if "/" in kinds[0].group_version]
        named = [{"groupVersion": group, "version": group.partition("/")[2]} for group in groups]
        return {
            "apiVersion": "v1",
            "kind": "APIGroupList",
            "groups": [
                {"name": one["groupVersion"].partition("/")[0], "versions": [one], "preferredVersion": one}
                for one in named
            ],
        }
    if kinds := by_path.get(path):
        return {
            "apiVersion": "v1",
            "kind": "APIResourceList",
            "groupVersion": kinds[0].group_version,
            "resources": [kind.discovered() for kind in kinds],
        }
    if path == "/openapi/v3":
        return {"paths": {place[1:]: {"serverRelativeURL": f"/openapi/v3{place}"} for place in by_path}}
    if kinds := by_path.get(path.removeprefix("/openapi/v3")):
        return {
            "openapi": "3.0.0",
            "paths": {
                f"{kind.path}/namespaces/{{namespace}}/{kind.plural}/{{name}}": kind.operation()
                for kind in kinds
            },
        }
    return None


@contextmanager
def serving_kubernetes(home: Path) -> Iterator[KubernetesAPI]:
    """A server without any object, for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    api = KubernetesAPI(f"http://127.0.0.1:{server.server_port}", home)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"api": api})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: KubernetesAPI

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/openapi/v2":
            # An older kubectl judges by this, in the only form it reads: a Protobuf message, here without any
            # schema, so that judging is left to the server.
            self._send(HTTPStatus.OK, "application/octet-stream", b"")
            return
        self._answer("GET", path, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # What `create` of a newer kubectl sends; `apply` sends JSON.
        is_protobuf = self.headers["Content-Type"] == "application/vnd.kubernetes.protobuf"
        document = _secret(body) if is_protobuf else json.loads(body)
        self._answer("POST", urlsplit(self.path).path, document)

    def _answer(self, method: str, path: str, body: Object) -> None:
        status, document = self.api._answer(method, path, body)
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""
