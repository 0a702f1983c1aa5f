"""Which failures of an S3 request pass by themselves, and what the others mean."""

from __future__ import annotations

import asyncio

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing, StorageError

__all__ = ["CLIENT_ERRORS", "explain", "http_status", "is_transient"]

CLIENT_ERRORS = (
    ClientError,
    BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    OSError,
)
"""Everything a request is known to fail with."""

_TRANSIENT_STATUS = {408, 409, 429}
_TRANSIENT_CODES = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "XAmzContentSHA256Mismatch",
}
_TRANSIENT_KINDS = (
    BotoConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role of the machine"


def http_status(error: BaseException) -> int | None:
    """The status of the store's answer; None where there was none."""
    if not isinstance(error, ClientError):
        return None
    status: int | None = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a little later.

    Connections that break or stay silent, bodies cut short or with a wrong checksum, answers that make no
    sense, 5xx, and the refusals that ask for another try. Never refusals of access, wrong names, or missing
    objects.
    """
    if isinstance(error, ClientError):
        status, code = http_status(error) or 0, error.response.get("Error", {}).get("Code", "")
        return status >= 500 or status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES
    if isinstance(error, BotoCoreError):
        return isinstance(error, _TRANSIENT_KINDS) and not _is_distrust(error)
    return True


def _is_distrust(error: BotoCoreError) -> bool:
    """Whether the store's certificate is not one that this machine trusts."""
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def explain(error: Exception, uri: str, operation: str) -> StorageError:
    """The `StorageError` for a failure that repeating does not cure."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(
            f"{uri}: {operation} needs credentials and there are none: {error}; {_CREDENTIALS}"
        )
    if isinstance(error, BotoCoreError) and _is_distrust(error):
        return StorageError(
            f"{uri}: {operation} failed: {error}; name the certificate to trust by AWS_CA_BUNDLE"
        )
    if not isinstance(error, ClientError):
        return StorageError(f"{uri}: {operation} failed: {error}; check the address and the AWS settings")
    return _explain_answer(error, uri, operation)


def _explain_answer(error: ClientError, uri: str, operation: str) -> StorageError:
    status, code = http_status(error), error.response.get("Error", {}).get("Code", "")
    if code == "NoSuchBucket":
        return StorageError(
            f"{uri}: {operation} failed: there is no such bucket at this endpoint; check the address"
        )
    if status == 404:
        return ObjectMissing(f"{uri}: there is no such object")
    if status == 412 and operation == "create":
        return ObjectExists(f"{uri}: exists already")
    if status in (412, 416):
        return ObjectChanged(
            f"{uri}: is no longer the pinned object; restore it, or start a new run for the new input"
        )
    if status in (401, 403):
        return StorageError(
            f"{uri}: {operation} refused: {error}; check the credentials ({_CREDENTIALS}) and the policy "
            "of the bucket (without permission to list, a missing object is refused as well)"
        )
    return StorageError(f"{uri}: {operation} failed with HTTP {status}: {error}")
