"""Which failures of an S3 request pass by themselves, and what the others mean."""

from __future__ import annotations

import asyncio
import os

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

from posrefine.errors import (
    ConditionUnsupported,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectUnreadable,
    StorageError,
)

__all__ = ["CLIENT_ERRORS", "explain", "http_status", "is_answer", "is_transient", "reason_of"]

CLIENT_ERRORS = (
    ClientError,
    BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    OSError,
)
"""Everything a request is known to fail with."""

_NOT_IMPLEMENTED = 501
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
_ARCHIVED = "InvalidObjectState"
_OF_A_KEY = ("kms:decrypt", "customer master key", "server side encryption", "kms key")
"""What stores say, in lower case, of an object whose key is not ours or is not given."""
_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role of the machine"


def http_status(error: BaseException) -> int | None:
    """The status of the store's answer; None where there was none."""
    if not isinstance(error, ClientError):
        return None
    status: int | None = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def is_answer(error: BaseException) -> bool:
    """Whether the store was there: it answered with an error, or its answer came damaged."""
    broken = (aiohttp.ClientPayloadError, FlexibleChecksumError, IncompleteReadError, ResponseParserError)
    return http_status(error) is not None or isinstance(error, broken)


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a little later.

    Connections that break or stay silent, bodies cut short or with a wrong checksum, answers that make no
    sense, 5xx, and the refusals that ask for another try. Never refusals of access, wrong names, or missing
    objects.
    """
    if isinstance(error, ClientError):
        status, code = http_status(error) or 0, error.response.get("Error", {}).get("Code") or ""
        return (
            (status >= 500 and status != _NOT_IMPLEMENTED)
            or status in _TRANSIENT_STATUS
            or code in _TRANSIENT_CODES
        )
    if isinstance(error, BotoCoreError):
        return isinstance(error, _TRANSIENT_KINDS) and not _is_distrust(error)
    return True


def _is_distrust(error: BotoCoreError) -> bool:
    """Whether the store's certificate is not one that this machine trusts."""
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def reason_of(error: BaseException) -> str:
    """The failure in words, with what the system said below it: the client may name an address alone."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in that time"
    below: object = error
    while below is not None:
        if isinstance(below, OSError) and below.errno is not None:
            # Of a negative number, an unknown host's, only the error itself has the words.
            said = os.strerror(below.errno) if below.errno > 0 else below.strerror
            return f"{type(error).__name__}: {error} ({said})"
        inner = below.kwargs.get("error") if isinstance(below, BotoCoreError) else None
        below = inner or getattr(below, "__cause__", None)
    return f"{type(error).__name__}: {error}"


def explain(error: Exception, uri: str, operation: str) -> StorageError:
    """The `StorageError` for a failure that repeating does not cure."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(
            f"{uri}: {operation} needs credentials and there are none: {error}; {_CREDENTIALS}; "
            "a public bucket of images is read with --anonymous"
        )
    if isinstance(error, BotoCoreError) and _is_distrust(error):
        return StorageError(
            f"{uri}: {operation} failed: {error}; name the certificate to trust by AWS_CA_BUNDLE"
        )
    if not isinstance(error, ClientError):
        return StorageError(f"{uri}: {operation} failed: {error}; check the address and the AWS settings")
    return _explain_answer(error, uri, operation)


_RESTORE = "it is archived: restore it"
_GET_THE_KEY = "it is encrypted: get the right to use its key, or store it with another one"


def _is_of_this_object(error: ClientError, code: str) -> bool:
    """Whether a refused read says something about the object alone, and nothing about the store."""
    # Some stores (Ceph) answer without a message, which the client makes a None of.
    said = (error.response.get("Error", {}).get("Message") or "").lower()
    return code == _ARCHIVED or code.startswith("KMS.") or any(words in said for words in _OF_A_KEY)


def _explain_answer(error: ClientError, uri: str, operation: str) -> StorageError:
    status, code = http_status(error), error.response.get("Error", {}).get("Code") or ""
    if operation == "read" and _is_of_this_object(error, code):
        advice = _RESTORE if code == _ARCHIVED else _GET_THE_KEY
        return ObjectUnreadable(f"{uri}: cannot be read: {error}; {advice}, then run retry-failed")
    if code == "NoSuchBucket":
        return StorageError(
            f"{uri}: {operation} failed: there is no such bucket at this endpoint; check the address"
        )
    if status == 404:
        return ObjectMissing(f"{uri}: there is no such object")
    if status == 412 and operation == "create":
        return ObjectExists(f"{uri}: exists already")
    if status in (400, _NOT_IMPLEMENTED) and operation in ("create", "replace"):
        return ConditionUnsupported(f"{uri}: {operation} is not understood by this store: {error}")
    if status == 412 and operation == "replace":
        return ObjectChanged(f"{uri}: another process wrote it in the meantime")
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
