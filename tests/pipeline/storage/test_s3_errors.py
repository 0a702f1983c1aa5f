"""A fault of one object is not a fault of the store."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from pipeline.storage.s3_errors import explain, is_transient, reason_of
from posrefine.errors import ObjectChanged, ObjectMissing, ObjectUnreadable, StorageError

URI = "s3://bucket/a.jpg"
OF_ONE_OBJECT = [
    (403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
    (
        400,
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters must be "
        "provided to retrieve the object.",
    ),
    (
        403,
        "AccessDenied",
        "User: arn:aws:iam::1:user/u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:x "
        "because no identity-based policy allows the kms:Decrypt action",
    ),
    (
        403,
        "AccessDenied",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
        "or you are not allowed to access.",
    ),
    (400, "KMS.DisabledException", "arn:aws:kms:x is disabled."),
]


def answer(status: int, code: str, message: str) -> ClientError:
    said = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "GetObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "code", "message"), OF_ONE_OBJECT)
def test_what_is_archived_or_encrypted_is_the_objects_own_fault(status, code, message):
    error = answer(status, code, message)
    assert not is_transient(error)
    explained = explain(error, URI, "read")
    assert type(explained) is ObjectUnreadable
    assert URI in str(explained)
    assert message in str(explained)
    assert ("archived" if code == "InvalidObjectState" else "encrypted") in str(explained)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [(403, "AccessDenied", "Access Denied"), (403, "SignatureDoesNotMatch", "x"), (401, "InvalidToken", "x")],
)
def test_a_refusal_of_access_is_the_stores(status, code, message):
    assert type(explain(answer(status, code, message), URI, "read")) is StorageError


def test_a_put_that_lacks_the_key_of_its_bucket_is_a_refusal():
    assert type(explain(answer(*OF_ONE_OBJECT[2]), URI, "write")) is StorageError


def test_what_the_system_said_is_told_with_what_the_client_said():
    refused = ConnectionRefusedError(111, "Connection refused")
    error = EndpointConnectionError(endpoint_url="http://a:9", error=refused)
    assert reason_of(error) == (
        'EndpointConnectionError: Could not connect to the endpoint URL: "http://a:9" (Connection refused)'
    )
    assert reason_of(ValueError("x")) == "ValueError: x"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(412, ObjectChanged), (404, ObjectMissing), (403, StorageError)],
)
def test_an_answer_without_code_and_message_is_judged_by_its_status(
    status: int, expected: type[StorageError]
):
    """As Ceph gives it, whose answers the client turns into None."""
    said = {"Error": {"Code": None, "Message": None}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(said, "GetObject")  # type: ignore[arg-type]
    assert not is_transient(error)
    assert type(explain(error, URI, "read")) is expected
