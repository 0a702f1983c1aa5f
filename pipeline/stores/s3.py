"""Objects in an S3 store, through the client that s3fs keeps for this process.

s3fs gives the credentials chain, the connection pool and the thread with the event loop. The requests
themselves are single calls of its client, because they need conditions (`If-Match`, `If-None-Match`), one
put per object whatever its size, and the HTTP status of a refusal.
"""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import s3fs
from fsspec.asyn import sync

from pipeline.stores.base import ObjectInfo, StorageOptions
from pipeline.stores.s3_errors import CLIENT_ERRORS, explain, http_status, is_transient
from pipeline.uris import split_s3
from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing, StorageError

__all__ = ["S3Store"]

Result = TypeVar("Result")
Client: TypeAlias = Any
"""The aiobotocore client, which has no static type."""
Request = Callable[[Client], Awaitable[Result]]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

# Their debug records print whole requests, session tokens included.
for _name in ("botocore", "aiobotocore"):
    logging.getLogger(_name).setLevel(logging.INFO)


class S3Store:
    """A `Store` over S3. Belongs to the process that made it."""

    def __init__(self, options: StorageOptions) -> None:
        self._options = options
        self._s3 = s3fs.S3FileSystem(
            config_kwargs={
                "retries": {"max_attempts": options.attempts, "mode": "standard"},
                "connect_timeout": options.connect_timeout_s,
                "read_timeout": options.read_timeout_s,
                "max_pool_connections": options.connections,
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def read(self, uri: str, start: int | None, end: int | None, etag: str | None) -> bytes:
        """The whole object or its bytes [start, end)."""

        async def request(client: Client) -> bytes:
            return await _get(client, uri, start, end, etag)

        size_bytes = end - start if start is not None and end is not None else 0
        return self._repeat(uri, "read", size_bytes, request)

    def put(self, uri: str, data: bytes) -> None:
        """Write the object by one put."""

        async def request(client: Client) -> None:
            await client.put_object(**_address(uri), Body=data)

        self._repeat(uri, "write", len(data), request)

    def put_file(self, uri: str, path: Path) -> None:
        """Write the object by one put, reading the file as it is sent."""

        async def request(client: Client) -> None:
            with path.open("rb") as file:
                await client.put_object(**_address(uri), Body=file)

        self._repeat(uri, "write", path.stat().st_size, request)

    def create(self, uri: str, data: bytes) -> None:
        """Write the object by one put if there is none, or it holds the same bytes."""

        async def request(client: Client) -> None:
            try:
                await client.put_object(**_address(uri), Body=data, IfNoneMatch="*")
            except CLIENT_ERRORS as error:
                # Any layer below may have repeated a put whose reply was lost, and then met its own object.
                if http_status(error) != 412 or await _get_if_there(client, uri) != data:
                    raise

        async def request_looking_first(client: Client) -> None:
            stored = await _get_if_there(client, uri)
            if stored is None:
                await client.put_object(**_address(uri), Body=data)
            elif stored != data:
                raise ObjectExists(f"{uri}: exists already")

        keeps = self._options.create_only_puts
        self._repeat(uri, "create", len(data), request if keeps else request_looking_first)

    def delete(self, uri: str) -> None:
        """Remove the object if it is there."""

        async def request(client: Client) -> None:
            await client.delete_object(**_address(uri))

        self._repeat(uri, "delete", 0, request)

    def head(self, uri: str) -> ObjectInfo:
        """Size and etag of the object."""
        if not split_s3(uri)[1]:
            raise ObjectMissing(f"{uri}: is a bucket, not an object")

        async def request(client: Client) -> ObjectInfo:
            reply = await client.head_object(**_address(uri))
            return ObjectInfo(uri, reply["ContentLength"], reply["ETag"].strip('"'))

        return self._repeat(uri, "look up", 0, request)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """The objects below a prefix, one page of the listing at a time."""
        bucket, prefix = split_s3(uri)
        where: dict[str, str] = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        while True:
            page = self._list_page(uri, dict(where))
            for entry in page.get("Contents", []):
                if not entry["Key"].endswith("/"):
                    yield ObjectInfo(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def _list_page(self, uri: str, where: dict[str, str]) -> dict[str, Any]:
        async def request(client: Client) -> dict[str, Any]:
            page: dict[str, Any] = await client.list_objects_v2(**where)
            return page

        return self._repeat(uri, "list", 0, request)

    def _repeat(self, uri: str, operation: str, size_bytes: int, request: Request[Result]) -> Result:
        """Make the request, again after transient failures, until the deadline of the call."""
        budget_s = self._options.budget_s(size_bytes)
        deadline = time.monotonic() + budget_s

        async def attempt_once() -> Result:
            return await request(await self._s3.set_session())

        for attempt in itertools.count():
            try:
                result: Result = sync(
                    self._s3.loop, attempt_once, timeout=max(0.1, deadline - time.monotonic())
                )
            except CLIENT_ERRORS as error:
                if not is_transient(error):
                    raise explain(error, uri, operation) from error
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)
                if time.monotonic() + pause_s >= deadline:
                    raise StorageError(
                        f"{uri}: {operation} failed {attempt + 1} times within {budget_s:.0f} s, at last "
                        f"with {type(error).__name__}: {error}; check network and store, then run again"
                    ) from error
                time.sleep(pause_s)
            else:
                return result
        raise AssertionError("unreachable")


def _address(uri: str) -> dict[str, str]:
    bucket, key = split_s3(uri)
    return {"Bucket": bucket, "Key": key}


async def _get(
    client: Client, uri: str, start: int | None = None, end: int | None = None, etag: str | None = None
) -> bytes:
    conditions = {"IfMatch": f'"{etag}"'} if etag is not None else {}
    if start is not None and end is not None:
        conditions["Range"] = f"bytes={start}-{end - 1}"
    reply = await client.get_object(**_address(uri), **conditions)
    async with reply["Body"] as body:
        data: bytes = await body.read()
    if etag is not None and reply["ETag"].strip('"') != etag:
        raise ObjectChanged(f"{uri}: its etag is now {reply['ETag']}, {etag} was pinned; {_WHAT_TO_DO}")
    if start is not None and end is not None and len(data) != end - start:
        raise ObjectChanged(f"{uri}: bytes {start} to {end} wanted, {len(data)} came; {_WHAT_TO_DO}")
    if len(data) != reply["ContentLength"]:
        raise ConnectionError(f"the body ended after {len(data)} of {reply['ContentLength']} bytes")
    return data


_WHAT_TO_DO = "restore the object, or start a new run for the new input"


async def _get_if_there(client: Client, uri: str) -> bytes | None:
    try:
        return await _get(client, uri)
    except CLIENT_ERRORS as error:
        if http_status(error) == 404:
            return None
        raise
