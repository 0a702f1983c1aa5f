"""Objects in an S3 store, through the client that s3fs keeps for this process.

s3fs gives the credentials chain, the connection pool and the thread with the event loop. The requests
themselves are single calls of its client, because they need conditions (`If-Match`, `If-None-Match`), one
put per object whatever its size, and the HTTP status of a refusal.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import s3fs
from fsspec.asyn import sync

from pipeline.storage.base import ObjectInfo, StorageOptions
from pipeline.storage.patience import Patience
from pipeline.storage.s3_errors import CLIENT_ERRORS, explain, is_answer, is_transient, reason_of
from pipeline.storage.s3_requests import (
    Client,
    address_of,
    agree_to_pay,
    etag_of,
    get,
    get_if_there,
    is_there,
    put_if,
)
from pipeline.storage.uris import split_s3
from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing, StorageError

__all__ = ["S3Store"]

Result = TypeVar("Result")
Request = Callable[[Client, Patience], Awaitable[Result]]

logger = logging.getLogger(__name__)

_FAILURES_BEFORE_WARNING = 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_SHORTEST_SILENCE_S = 3.0

# Their debug records print whole requests, session tokens included; the others are for who wants more lines.
for _name in ("botocore", "aiobotocore"):
    logging.getLogger(_name).setLevel(max(logging.INFO, logging.getLogger().level))


class S3Store:
    """A `Store` over S3. Belongs to the process that made it."""

    def __init__(
        self, options: StorageOptions, *, anonymous: bool = False, requester_pays: bool = False
    ) -> None:
        self._options, self._requester_pays = options, requester_pays
        self._born, self._has_answered = time.monotonic(), False
        self._s3 = s3fs.S3FileSystem(
            anon=anonymous,
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

        async def request(client: Client, patience: Patience) -> bytes:
            return (await get(client, uri, start, end, etag, patience))[0]

        return self._repeat(uri, "read", 0, request)

    def put(self, uri: str, data: bytes) -> None:
        """Write the object by one put."""

        async def request(client: Client, _patience: Patience) -> None:
            await client.put_object(**address_of(uri), Body=data)

        self._repeat(uri, "write", len(data), request)

    def put_file(self, uri: str, path: Path) -> None:
        """Write the object by one put, reading the file as it is sent."""

        async def request(client: Client, _patience: Patience) -> None:
            with path.open("rb") as file:
                await client.put_object(**address_of(uri), Body=file)

        self._repeat(uri, "write", path.stat().st_size, request)

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        """Write the object by one put if the one with that etag is there, or one with the same bytes."""

        async def request(client: Client, _patience: Patience) -> str:
            # Without quotes: S3 takes an etag either way, Ceph compares the header letter by letter.
            return await put_if(client, uri, data, IfMatch=etag)

        async def request_looking_first(client: Client, _patience: Patience) -> str:
            there = await client.head_object(**address_of(uri))
            if etag_of(there) == etag:
                return etag_of(await client.put_object(**address_of(uri), Body=data))
            found = await get_if_there(client, uri)
            if found is None or found[0] != data:
                raise ObjectChanged(f"{uri}: is no longer the one with the etag {etag}")
            return found[1]

        keeps = self._options.conditional_replaces
        return self._repeat(uri, "replace", len(data), request if keeps else request_looking_first)

    def create(self, uri: str, data: bytes) -> str:
        """Write the object by one put if there is none, or it holds the same bytes."""

        async def request(client: Client, _patience: Patience) -> str:
            return await put_if(client, uri, data, IfNoneMatch="*")

        async def request_looking_first(client: Client, _patience: Patience) -> str:
            found = await get_if_there(client, uri)
            if found is None:
                return etag_of(await client.put_object(**address_of(uri), Body=data))
            if found[0] != data:
                raise ObjectExists(f"{uri}: exists already")
            return found[1]

        keeps = self._options.create_only_puts
        return self._repeat(uri, "create", len(data), request if keeps else request_looking_first)

    def create_file(self, uri: str, path: Path) -> None:
        """Write the object by one put if there is none, reading the file as it is sent."""

        async def request(client: Client, _patience: Patience) -> None:
            condition = {"IfNoneMatch": "*"} if self._options.create_only_puts else {}
            if not condition and await is_there(client, uri):
                raise ObjectExists(f"{uri}: exists already")
            with path.open("rb") as file:
                await client.put_object(**address_of(uri), Body=file, **condition)

        self._repeat(uri, "create", path.stat().st_size, request)

    def delete(self, uri: str) -> None:
        """Remove the object if it is there."""

        async def request(client: Client, _patience: Patience) -> None:
            await client.delete_object(**address_of(uri))

        self._repeat(uri, "delete", 0, request)

    def head(self, uri: str) -> ObjectInfo:
        """Size and etag of the object."""
        if not split_s3(uri)[1]:
            raise ObjectMissing(f"{uri}: is a bucket, not an object")

        async def request(client: Client, _patience: Patience) -> ObjectInfo:
            reply = await client.head_object(**address_of(uri))
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
                    yield ObjectInfo(
                        f"s3://{bucket}/{entry['Key']}",
                        entry["Size"],
                        entry["ETag"].strip('"'),
                        entry["LastModified"].timestamp(),
                    )
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def _list_page(self, uri: str, where: dict[str, str]) -> dict[str, Any]:
        async def request(client: Client, _patience: Patience) -> dict[str, Any]:
            page: dict[str, Any] = await client.list_objects_v2(**where)
            return page

        return self._repeat(uri, "list", 0, request)

    def _repeat(self, uri: str, operation: str, size_bytes: int, request: Request[Result]) -> Result:
        """Make the request, again after transient failures, until the deadline of the call."""
        started = time.monotonic()
        patience = Patience(self._options, size_bytes)

        async def attempt_once() -> Result:
            longest_s = self._longest_silence_s(size_bytes)
            try:
                async with patience.one_attempt(longest_s):
                    return await request(await self._client(), patience)
            except TimeoutError as error:
                if longest_s == math.inf or time.monotonic() >= patience.deadline:
                    raise
                said = f"nothing that listens there answered within {longest_s:.0f} s"
                raise ConnectionError(said) from error

        told: Exception | None = None
        for attempt in itertools.count():
            try:
                result: Result = sync(self._s3.loop, attempt_once)
            except CLIENT_ERRORS as error:
                self._has_answered |= is_answer(error)
                if not is_transient(error):
                    raise explain(error, uri, operation) from error
                # Where time is up in mid-request, what was told before is the reason.
                told = told if told is not None and isinstance(error, TimeoutError) else error
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)
                ends_at = min(patience.deadline, max(time.monotonic(), self._gives_up_at()))
                if time.monotonic() + pause_s >= ends_at:
                    raise StorageError(
                        f"{uri}: {operation} failed {attempt + 1} times within {ends_at - started:.0f} s, at "
                        f"last with {reason_of(told)}; check network and store, then run again"
                    ) from error
                if attempt == _FAILURES_BEFORE_WARNING:
                    logger.warning("%s: %s goes on failing: %s", uri, operation, reason_of(told))
                time.sleep(pause_s)
            else:
                self._has_answered = True
                return result
        raise AssertionError("unreachable")

    def _longest_silence_s(self, size_bytes: int) -> float:
        """How long an attempt may wait for a store that never answered; a moment once it was given up."""
        if self._has_answered or self._options.first_answer_s is None:
            return math.inf
        left_s = self._born + 2 * self._options.first_answer_s - time.monotonic()
        return max(_SHORTEST_SILENCE_S, left_s) + size_bytes / self._options.slowest_bytes_per_s

    def _gives_up_at(self) -> float:
        """When a store that never answered is given up."""
        if self._has_answered or self._options.first_answer_s is None:
            return math.inf
        return self._born + self._options.first_answer_s

    async def _client(self) -> Client:
        client = await self._s3.set_session()
        if self._requester_pays:
            client.meta.events.register("before-call.s3", agree_to_pay, unique_id="requester-pays")
        return client
