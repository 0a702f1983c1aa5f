"""A real S3 server for tests: moto, in this process, on loopback."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import uuid4

import boto3
from moto.server import ThreadedMotoServer

__all__ = ["Bucket", "S3Server"]

_KEY, _SECRET, _REGION = "test-key", "test-secret", "us-east-1"


class S3Server:
    """Starts on entering and stops on leaving; keeps nothing."""

    def __enter__(self) -> S3Server:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://{self.host}:{self.port}"

    def environment(self, endpoint_url: str | None = None) -> dict[str, str]:
        """The variables with which a process uses this server (through a proxy, if one is named)."""
        return {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_ENDPOINT_URL": endpoint_url or self.url,
        }

    def make_bucket(self) -> Bucket:
        """A new bucket under a name of its own."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            region_name=_REGION,
        )
        name = f"test-{uuid4().hex}"
        client.create_bucket(Bucket=name)
        return Bucket(name, client)


@dataclass(frozen=True)
class Bucket:
    """A bucket, and plain access to it that does not go through the code under test."""

    name: str
    client: Any

    @property
    def uri(self) -> str:
        """`s3://name`."""
        return f"s3://{self.name}"

    def write(self, key: str, data: bytes) -> str:
        """Put an object; its address."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        return f"{self.uri}/{key}"

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def keys(self) -> list[str]:
        """All keys, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
