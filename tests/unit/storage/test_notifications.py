"""What stores post, as they post it, and what others might."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.storage.notifications import MOST_RECORDS, Notification, parse_notification
from penstock.storage.objectevent import ObjectEvent

AMAZON = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "awsRegion": "us-west-2",
    "eventTime": "1970-01-01T00:00:00.000Z",
    "eventName": "ObjectCreated:Put",
    "userIdentity": {"principalId": "EXAMPLE"},
    "requestParameters": {"sourceIPAddress": "127.0.0.1"},
    "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "testConfigRule",
        "bucket": {
            "name": "photos",
            "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
            "arn": "arn:aws:s3:::photos",
        },
        "object": {
            "key": "Happy+Face%2B1.jpg",
            "size": 1024,
            "eTag": "d41d8cd98f00b204e9800998ecf8427e",
            "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
            "sequencer": "0055AED6DCD90281E5",
        },
    },
}
MINIO = {
    "EventName": "s3:ObjectRemoved:Delete",
    "Key": "photos/in/a b.jpg",
    "Records": [
        {
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": "2026-01-02T03:04:05.678Z",
            "eventName": "s3:ObjectRemoved:Delete",
            "s3": {
                "bucket": {"name": "photos"},
                "object": {"key": "in%2Fa+b.jpg", "versionId": "1", "sequencer": "15CFEDF8D5304D1A"},
            },
            "source": {"host": "172.17.0.1", "userAgent": "MinIO"},
        }
    ],
}
CEPH = {
    "eventVersion": "2.2",
    "eventSource": "ceph:s3",
    "eventTime": "2026-01-02T03:04:05.678901Z",
    "eventName": "ObjectCreated:CompleteMultipartUpload",
    "s3": {
        "bucket": {"name": "photos", "id": "7c0f"},
        "object": {"key": "a+b %41.jpg", "size": 0, "eTag": '"e-2"', "versionId": "", "sequencer": "F4A6", "tags": []},
    },
    "eventId": "1612.9.e",
    "opaqueData": "me@example.com",
}


def body(*records: Any) -> bytes:
    return json.dumps({"Records": list(records)}).encode()


def changed(**fields: Any) -> dict[str, Any]:
    """Amazon's record with an object's fields replaced."""
    return {**AMAZON, "s3": {"bucket": {"name": "photos"}, "object": {"key": "k", **fields}}}


def test_amazons_keys_are_decoded_as_a_form_is() -> None:
    assert parse_notification(body(AMAZON)).events == (
        ObjectEvent(
            name="s3:ObjectCreated:Put",
            kind="created",
            bucket="photos",
            key="Happy Face+1.jpg",
            etag="d41d8cd98f00b204e9800998ecf8427e",
            size=1024,
            identity="0055AED6DCD90281E5 096fKKXTRTtl3on89fVO.nfljtsv6qko 1970-01-01T00:00:00.000Z",
        ),
    )


def test_minios_records_count_and_its_own_words_around_them_do_not() -> None:
    [event] = parse_notification(json.dumps(MINIO).encode()).events
    assert (event.name, event.kind, event.bucket, event.key) == (
        "s3:ObjectRemoved:Delete",
        "removed",
        "photos",
        "in/a b.jpg",
    )
    assert (event.etag, event.size) == ("", None)


def test_minios_own_words_alone_are_enough_and_are_not_encoded() -> None:
    words = {"EventName": "s3:ObjectCreated:Put", "Key": "photos/in/a+b%41.jpg"}
    [event] = parse_notification(json.dumps(words).encode()).events
    assert (event.bucket, event.key, event.identity) == ("photos", "in/a+b%41.jpg", "")


def test_cephs_keys_are_as_they_are() -> None:
    [event] = parse_notification(body(CEPH)).events
    assert (event.key, event.etag, event.name) == ("a+b %41.jpg", "e-2", "s3:ObjectCreated:CompleteMultipartUpload")


def test_a_key_beyond_ascii_is_read() -> None:
    [event] = parse_notification(body(changed(key="gr%C3%BC%C3%9Fe/%E6%97%A5.jpg"))).events
    assert event.key == "grüße/日.jpg"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ObjectCreated:Copy", "created"),
        ("s3:ObjectCreated:Post", "created"),
        ("ObjectRemoved:DeleteMarkerCreated", "removed"),
        ("s3:LifecycleExpiration:Delete", "removed"),
        ("s3:ObjectLifecycle:Expiration:Current", "removed"),
    ],
)
def test_events_are_arrivals_or_removals(name: str, kind: str) -> None:
    [event] = parse_notification(body({**AMAZON, "eventName": name})).events
    assert event.kind == kind


@pytest.mark.parametrize(
    "name", ["s3:ObjectAccessed:Get", "ObjectTagging:Put", "s3:Replication:x", "", "ObjectCreated"]
)
def test_events_of_other_kinds_are_left_out(name: str) -> None:
    assert parse_notification(body({**AMAZON, "eventName": name})) == Notification(())


@pytest.mark.parametrize("text", [b'{"Event": "s3:TestEvent", "Bucket": "photos"}', b'{"Records": []}'])
def test_a_test_of_the_way_here_is_accepted(text: bytes) -> None:
    assert parse_notification(text) == Notification(())


def test_what_amazons_sns_forwards_is_read() -> None:
    envelope = {"Type": "Notification", "TopicArn": "arn:x", "Message": body(AMAZON).decode()}
    [event] = parse_notification(json.dumps(envelope).encode()).events
    assert event.key == "Happy Face+1.jpg"


def test_a_subscription_of_sns_is_to_be_confirmed_by_people() -> None:
    envelope = {"Type": "SubscriptionConfirmation", "Message": "You have chosen", "SubscribeURL": "https://sns/x"}
    assert parse_notification(json.dumps(envelope).encode()) == Notification((), confirm="https://sns/x")


@pytest.mark.parametrize(
    "record",
    [
        changed(key=""),
        changed(key="folder/"),
        changed(key="a%0Ab"),
        changed(key="..%2F..%2Fetc"),
        changed(key="k" * 1025),
        changed(key="%ff"),
        changed(eTag="e\r\nX-Evil: 1"),
        changed(eTag="e" * 257),
        changed(sequencer="é"),
        changed(size=-1),
        {**AMAZON, "eventName": "ObjectCreated:\x1b[2J"},
        {**AMAZON, "eventTime": "now\n"},
        {**AMAZON, "s3": {"bucket": {"name": "../x"}, "object": {"key": "k"}}},
        {**AMAZON, "s3": {}},
    ],
)
def test_an_object_that_no_request_can_name_is_left_out_with_a_reason_and_the_others_stay(record: Any) -> None:
    notification = parse_notification(body(record, AMAZON))
    assert len(notification.events) == 1
    [reason] = notification.unusable
    assert reason.isprintable()
    assert len(reason) < 300


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"Records": {}}',
        b'{"Records": [1]}',
        b'{"Records": [{"eventName": 1, "s3": {}}]}',
        b'{"Records": [{"eventName": "ObjectCreated:Put"}]}',
        b'{"Records": [{"eventName": "x", "s3": {"object": {"size": 1e999}}}]}',
        b'{"Event": "something else"}',
        b'{"Type": "Notification", "Message": "hello"}',
        b'{"Type": "Notification", "Message": "{}"}',
        b'{"EventName": "s3:ObjectCreated:Put"}',
        b'{"Records":' + b"[" * 100_000,
        b'{"x":' * 100_000,
    ],
)
def test_what_is_no_notification_is_refused_with_a_reason(text: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_notification(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_one_notification_has_a_bounded_number_of_records() -> None:
    small = {"eventName": "x", "s3": {}}
    assert parse_notification(body(*[small] * MOST_RECORDS)).events == ()
    with pytest.raises(InvalidInput, match="at most 10000"):
        parse_notification(body(*[small] * (MOST_RECORDS + 1)))


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_key_makes_a_header_that_is_none(key: str) -> None:
    for event in parse_notification(body(changed(key=key))).events:
        assert str(event.ref).isascii()
        assert str(event.ref).isprintable()
