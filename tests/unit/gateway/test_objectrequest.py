"""What a request by reference asks for, what is refused, and what the function sees of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest

from penstock.core.pipelinetarget import StageTarget, read_stage
from penstock.core.policy import Policy
from penstock.errors import InvalidInput
from penstock.gateway.byteranges import ByteRange
from penstock.gateway.counters import FunctionCounters
from penstock.gateway.objectrequest import (
    MOST_HOPS,
    Wanted,
    asked_stages,
    check_own_lists,
    hops_after,
    key_of,
    limits_of,
    named_fields,
    read_wanted,
    seen_request,
)
from penstock.gateway.pipelineplan import Cast, find_cast
from penstock.gateway.routes import FunctionRoute
from penstock.storage.attributes import HOPS
from penstock.storage.errors import BucketNotAllowed, TooManyHops
from penstock.storage.reference import ObjectRef
from penstock.wire.message import RequestHead, parse_request
from penstock.wire.timeouts import NEVER

A, B = ObjectRef("inbox", "a"), ObjectRef("outbox", "b")
NO_PART = ByteRange()


@dataclass
class Opened:
    """An object of so many bytes, opened (`gateway.objectsource.Stream`)."""

    size: int = 10
    first: int = 0
    last: int = 9
    attributes: Mapping[str, str] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield bytes(self.last - self.first + 1)

    async def aclose(self) -> None:
        return


def head(*lines: str, method: str = "POST", target: str = "/function/x", version: str = "1.1") -> RequestHead:
    text = "\r\n".join((f"{method} {target} HTTP/{version}", "Host: gateway", *lines, "", ""))
    return parse_request(text.encode("latin-1"))


def wanted(*lines: str, method: str = "POST") -> Wanted:
    request = head(*lines, method=method)
    return read_wanted(request, named_fields(request))


def seen(request: RequestHead, stream: Opened | None = None, stored: bool = False) -> list[str]:
    return seen_request(request, stream, stored).raw_fields.decode("latin-1").split("\r\n")[:-1]


# Its fields.


def test_fields_are_named_in_lower_case_and_without_spaces_around() -> None:
    assert named_fields(head("X-Input-Object:  s3://inbox/a \t"))["x-input-object"] == "s3://inbox/a"


def test_of_two_fields_that_do_not_count_the_first_is_told() -> None:
    assert named_fields(head("X-Mine: 1", "X-Mine: 2"))["x-mine"] == "1"


@pytest.mark.parametrize("name", ("Authorization", "If-None-Match", "Range", "X-Input-Object", "x-OUTPUT-object"))
def test_two_fields_where_one_counts_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name.lower()}: is there twice"):
        named_fields(head(f"{name}: a", f"{name.upper()}: a"))


def test_fields_that_connection_names_away_are_not_there() -> None:
    assert "x-input-object" not in named_fields(head("X-Input-Object: s3://inbox/a", "Connection: x-input-object"))


# Whom it asks.


@pytest.mark.parametrize(
    ("target", "names", "key"),
    [
        ("/function/x", [b"x"], "x.openfaas-fn"),
        ("/function/x.blue/path?q", [b"x.blue"], "x.blue"),
        ("/function/x|y", [b"x", b"y"], ""),
        ("http://gateway/function/x", [b"x"], "x.openfaas-fn"),
    ],
)
def test_who_is_asked_is_in_the_target(target: str, names: list[bytes], key: str) -> None:
    asked = asked_stages(head(target=target))
    assert ([stage.name for stage in asked], key_of(asked)) == (names, key)


def test_nobody_is_asked_where_there_is_no_function_in_the_target() -> None:
    assert asked_stages(head(target="/function/")) == ()


# What it wants.


def test_both_objects_and_the_part_are_read() -> None:
    found = wanted(
        "X-Input-Object: s3://inbox/a", "X-Output-Object: s3://outbox/b", "Range: bytes=2-4", "If-None-Match: *"
    )
    assert found == Wanted(A, ByteRange(2, 4), B, True)


def test_a_key_is_decoded_once_and_may_be_in_raw_utf8() -> None:
    assert wanted("X-Input-Object: s3://inbox/a%2520b%E2%98%83").source == ObjectRef("inbox", "a%20b\N{SNOWMAN}")
    assert wanted("X-Input-Object: s3://inbox/" + "\N{SNOWMAN}".encode().decode("latin-1")).source == ObjectRef(
        "inbox", "\N{SNOWMAN}"
    )


def test_without_an_input_object_range_is_not_ours() -> None:
    assert wanted("X-Output-Object: s3://outbox/b", "Range: lines=1").part == NO_PART


def test_without_an_output_object_a_condition_is_not_ours() -> None:
    assert not wanted("X-Input-Object: s3://inbox/a", 'If-None-Match: "tag"').new


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("X-Input-Object: s3://inbox/a", "Content-Length: 1"), "has a body as well"),
        (("X-Input-Object: s3://inbox/a", "Transfer-Encoding: chunked"), "has a body as well"),
        (("X-Input-Object: s3://inbox/a", "Range: bytes=a-b"), "is not one range"),
        (("X-Input-Object: s3://inbox/a", "Range: bytes=0-1,3-4"), "is not one range"),
        (("X-Output-Object: s3://outbox/b", 'If-None-Match: "tag"'), "can only be"),
        (("X-Input-Object:",), "X-Input-Object: '' is no reference"),
        (("X-Output-Object: outbox/b",), "X-Output-Object: 'outbox/b' is no reference"),
        (("X-Input-Object: s3://inbox",), "names no object"),
        (("X-Input-Object: s3://In/a",), "is no name of a bucket"),
        (("X-Input-Object: s3://inbox/../a",), "cannot be reached"),
        (("X-Input-Object: s3://inbox/a%00",), "control characters"),
        (("X-Input-Object: s3://inbox/%zz",), "is written %25"),
        (("X-Input-Object: s3://inbox/%ff",), "is not UTF-8"),
        (("X-Input-Object: s3://inbox/\xff",), "is not UTF-8"),
        (("X-Input-Object: s3://inbox/" + "k" * 1025,), "longer than 1024 bytes"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name(lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        wanted(*lines)


def test_an_answer_to_head_cannot_be_stored() -> None:
    with pytest.raises(InvalidInput, match="HEAD has no body"):
        wanted("X-Output-Object: s3://outbox/b", method="HEAD")


def test_nothing_of_a_reference_is_told_unescaped() -> None:
    with pytest.raises(InvalidInput) as refused:
        wanted("X-Input-Object: \xc2\x85nonsense\xe2\x80\xae")
    assert str(refused.value).isprintable()


# What functions allow, and how long it may take.


def route(name: str, buckets: tuple[str, ...] | None = None, *stages: str, **policy: float) -> FunctionRoute:
    made = FunctionRoute(name, Policy(buckets=buckets, **policy), FunctionCounters(name))  # type: ignore[arg-type]
    made.stages = tuple(map(read_stage, stages))
    return made


def cast(asked: str, *functions: FunctionRoute) -> tuple[Cast, tuple[StageTarget, ...]]:
    known = {function.key.encode(): function for function in functions}
    stages = tuple(read_stage(text) for text in asked.split("|"))
    return find_cast(stages, known.get), stages


def test_the_first_functions_list_is_for_the_input_and_the_last_ones_for_the_output() -> None:
    found = cast("x|y", route("x", ("inbox",)), route("y", ("outbox",)))
    check_own_lists(Wanted(A, NO_PART, B, False), *found)
    with pytest.raises(BucketNotAllowed, match=r"com\.penstock\.storage\.buckets of x"):
        check_own_lists(Wanted(B, NO_PART, B, False), *found)
    with pytest.raises(BucketNotAllowed, match=r"com\.penstock\.storage\.buckets of y"):
        check_own_lists(Wanted(A, NO_PART, A, False), *found)


def test_a_function_without_a_list_may_use_every_bucket_and_one_with_an_empty_list_none() -> None:
    check_own_lists(Wanted(A, NO_PART, B, False), *cast("x", route("x")))
    with pytest.raises(BucketNotAllowed):
        check_own_lists(Wanted(A, NO_PART, None, False), *cast("x", route("x", ())))


def test_a_named_pipelines_list_is_for_both_ends() -> None:
    found = cast("p", route("p", ("inbox",), "x"), route("x"))
    check_own_lists(Wanted(A, NO_PART, A, False), *found)
    for one in (Wanted(B, NO_PART, None, False), Wanted(None, NO_PART, B, False)):
        with pytest.raises(BucketNotAllowed, match="of p"):
            check_own_lists(one, *found)


@pytest.mark.parametrize(
    ("policy", "asked", "run", "whole"),
    [
        ({"timeout": 5, "queue_timeout": 7}, {}, 5, 12),
        ({"timeout": 5, "queue_timeout": 7}, {"x-timeout": "2s"}, 2, 9),
        ({"timeout": 5, "queue_timeout": 7}, {"x-timeout": "1h"}, 5, 12),
        ({"timeout": 5, "queue_timeout": 7}, {"x-timeout": "soon"}, 5, 12),
        ({"timeout": 5, "queue_timeout": 0}, {}, 5, NEVER),
        ({"timeout": 0, "queue_timeout": 7}, {}, NEVER, NEVER),
        ({"timeout": 0, "queue_timeout": 7}, {"x-timeout": "3s"}, 3, 10),
    ],
)
def test_it_may_take_as_long_as_the_same_without_objects(
    policy: dict[str, float], asked: dict[str, str], run: float, whole: float
) -> None:
    assert limits_of(*cast("x", route("x", None, **policy)), asked) == (run, whole)


# What the function sees.


def test_the_function_sees_neither_objects_nor_credentials() -> None:
    request = head(
        "X-Input-Object: s3://inbox/a", "X-OUTPUT-object: s3://outbox/b", "Authorization: Bearer x", "X-Mine: 1"
    )
    assert seen(request, Opened(), True) == ["Host: gateway", "X-Mine: 1", "Content-Length: 10"]


def test_the_length_is_that_of_the_part() -> None:
    request = seen_request(head("Range: bytes=2-4", "If-Range: x", "Content-Length: 0"), Opened(first=2, last=4), False)
    assert request.raw_fields == b"Host: gateway\r\nContent-Length: 3\r\n"
    assert (request.content_length, request.has_body, request.chunked) == (3, True, False)


def test_what_describes_the_object_is_told_unless_the_client_tells_it() -> None:
    attributes = {
        "Content-Type": "text/csv",
        "Content-Encoding": "gzip",
        "Content-Language": "de",
        "Content-Disposition": "inline",
        "Cache-Control": "no-store",
        HOPS: "3",
    }
    assert seen(head("content-TYPE: text/plain", "X-Content-Language: en"), Opened(attributes=attributes))[1:] == [
        "content-TYPE: text/plain",
        "X-Content-Language: en",
        "Content-Length: 10",
        "Content-Encoding: gzip",
        "Content-Language: de",
        "Content-Disposition: inline",
    ]


@pytest.mark.parametrize("value", ("a\r\nX-Evil: 1", "ü", "a\x00"))
def test_an_attribute_that_fits_no_field_is_not_told(value: str) -> None:
    assert seen(head(), Opened(attributes={"Content-Type": value})) == ["Host: gateway", "Content-Length: 10"]


def test_a_request_without_an_input_object_keeps_what_it_says_of_its_body() -> None:
    lines = ["Content-Length: 5", "Content-Type: text/csv", "Range: bytes=1-2"]
    assert seen(head(*lines), None, True) == ["Host: gateway", *lines]


def test_the_condition_for_the_output_is_not_the_functions() -> None:
    assert seen(head("If-None-Match: *"), None, True) == ["Host: gateway"]
    assert seen(head('If-None-Match: "x"'), Opened(), False)[1] == 'If-None-Match: "x"'


def test_an_answer_that_is_stored_is_asked_for_as_an_old_client_does() -> None:
    assert seen_request(head(), None, True).http10
    assert not seen_request(head(), Opened(), False).http10
    assert seen_request(head(version="1.0"), Opened(), False).http10


def test_no_other_protocol_is_asked_for() -> None:
    request = seen_request(head("Connection: upgrade", "Upgrade: websocket"), Opened(), False)
    assert (request.upgrade, request.raw_fields) == (b"", b"Host: gateway\r\nContent-Length: 10\r\n")


def test_a_client_that_waits_to_send_a_body_is_not_waited_for() -> None:
    assert not seen_request(head("Expect: 100-continue", "Content-Length: 0"), Opened(), False).expect_continue


# Functions that feed each other.


@pytest.mark.parametrize(("before", "after"), [("", 1), ("1", 2), (str(MOST_HOPS - 1), MOST_HOPS), ("made up", 1)])
def test_a_call_about_an_event_is_one_hop_more(before: str, after: int) -> None:
    assert hops_after({"x-event-name": "s3:ObjectCreated:Put"}, Opened(attributes={HOPS: before})) == after


def test_too_many_hops_are_refused() -> None:
    with pytest.raises(TooManyHops, match="has come through 16 functions"):
        hops_after({"x-event-name": "s3:ObjectCreated:Put"}, Opened(attributes={HOPS: str(MOST_HOPS)}))


def test_a_call_that_no_event_has_caused_begins_anew() -> None:
    assert hops_after({}, Opened(attributes={HOPS: str(MOST_HOPS)})) == 0
    assert hops_after({"x-event-name": "s3:ObjectRemoved:Delete"}, None) == 0
