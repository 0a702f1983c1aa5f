"""Single requests of an S3 client: whole answers or errors, and puts under a condition."""

from __future__ import annotations

from typing import Any, TypeAlias

from pipeline.storage.patience import Patience
from pipeline.storage.s3_errors import CLIENT_ERRORS, http_status
from pipeline.storage.uris import split_s3
from posrefine.errors import ObjectChanged

__all__ = ["Client", "address_of", "agree_to_pay", "etag_of", "get", "get_if_there", "is_there", "put_if"]

Client: TypeAlias = Any
"""The aiobotocore client, which has no static type."""


def agree_to_pay(params: dict[str, Any], **_: object) -> None:
    """Say in a request that whoever asks pays for it."""
    params["headers"]["x-amz-request-payer"] = "requester"


def address_of(uri: str) -> dict[str, str]:
    """Bucket and key, as requests name them."""
    bucket, key = split_s3(uri)
    return {"Bucket": bucket, "Key": key}


async def get(
    client: Client,
    uri: str,
    start: int | None = None,
    end: int | None = None,
    etag: str | None = None,
    patience: Patience | None = None,
) -> tuple[bytes, str]:
    """Bytes and etag: of the whole object or its bytes [start, end), if its etag is the given one.

    Raises:
        ConnectionError: the body ended early.
        ObjectChanged: another object is there, or a shorter one.
    """
    conditions = {"IfMatch": f'"{etag}"'} if etag is not None else {}
    if start is not None and end is not None:
        conditions["Range"] = f"bytes={start}-{end - 1}"
    reply = await client.get_object(**address_of(uri), **conditions)
    if patience is not None:
        patience.expect(reply["ContentLength"])
    async with reply["Body"] as body:
        data: bytes = await body.read()
    if etag is not None and reply["ETag"].strip('"') != etag:
        raise ObjectChanged(f"{uri}: its etag is now {reply['ETag']}, {etag} was pinned; {_WHAT_TO_DO}")
    if start is not None and end is not None and len(data) != end - start:
        raise ObjectChanged(f"{uri}: bytes {start} to {end} wanted, {len(data)} came; {_WHAT_TO_DO}")
    if len(data) != reply["ContentLength"]:
        raise ConnectionError(f"the body ended after {len(data)} of {reply['ContentLength']} bytes")
    return data, etag_of(reply)


_WHAT_TO_DO = "restore the object, or start a new run for the new input"


def etag_of(reply: dict[str, Any]) -> str:
    """Without its quotes."""
    return str(reply["ETag"]).strip('"')


async def put_if(client: Client, uri: str, data: bytes, **condition: str) -> str:
    """Put under a condition; the etag of the object that is there afterwards, with these bytes."""
    try:
        return etag_of(await client.put_object(**address_of(uri), Body=data, **condition))
    except CLIENT_ERRORS as error:
        # Any layer below may have repeated a put whose reply was lost, and then met its own object.
        found = await get_if_there(client, uri) if http_status(error) == 412 else None
        if found is None or found[0] != data:
            raise
        return found[1]


async def get_if_there(client: Client, uri: str) -> tuple[bytes, str] | None:
    """Bytes and etag of the object; None where there is none."""
    try:
        return await get(client, uri)
    except CLIENT_ERRORS as error:
        if http_status(error) == 404:
            return None
        raise


async def is_there(client: Client, uri: str) -> bool:
    """Whether the object is there."""
    try:
        await client.head_object(**address_of(uri))
    except CLIENT_ERRORS as error:
        if http_status(error) == 404:
            return False
        raise
    return True
