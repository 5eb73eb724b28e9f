"""Go-like JSON reading: what clients rely on, and what is refused with a clear message."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.decode import UINT64_MAX, JsonObject
from penstock.errors import InvalidInput


def parse(text: str) -> JsonObject:
    return JsonObject.parse(text.encode())


def test_unknown_keys_are_ignored() -> None:
    assert parse('{"service": "a", "registryAuth": {"x": [1]}}').text("service") == "a"


def test_keys_match_in_any_letter_case() -> None:
    assert parse('{"ENVPROCESS": "cat"}').text("envProcess") == "cat"


def test_keys_inside_maps_keep_their_letter_case() -> None:
    assert parse('{"labels": {"Team": "A"}}').text_map("labels") == {"Team": "A"}


def test_null_means_not_given_for_every_kind() -> None:
    body = parse('{"a": null}')
    assert not body.has("a")
    assert (body.text("a"), body.flag("a"), body.count("a")) == ("", False, 0)
    assert (body.texts("a"), body.text_map("a"), body.blob("a")) == ((), {}, b"")
    assert body.child("a").text("b") == ""


def test_a_null_body_is_an_empty_object() -> None:
    assert parse("null").text("service") == ""


def test_null_entries_of_maps_and_lists_are_empty_strings() -> None:
    body = parse('{"labels": {"a": null}, "secrets": [null]}')
    assert body.text_map("labels") == {"a": ""}
    assert body.texts("secrets") == ("",)


def test_the_largest_unsigned_number_is_read() -> None:
    assert parse(f'{{"replicas": {UINT64_MAX}}}').count("replicas") == UINT64_MAX


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1.0", "a number with a point or exponent"),
        ("1e3", "a number with a point or exponent"),
        ("-1", "a negative number"),
        ('"3"', "a string"),
        ("true", "a boolean"),
        (str(UINT64_MAX + 1), "a number"),
        ("[]", "a list"),
        ("{}", "an object"),
    ],
)
def test_a_count_must_be_a_whole_number(value: str, found: str) -> None:
    with pytest.raises(InvalidInput, match=f"^replicas: must be a whole number, 0 or more, not {found}$"):
        parse(f'{{"replicas": {value}}}').count("replicas")


def test_label_values_must_be_strings_and_the_message_names_the_label() -> None:
    with pytest.raises(InvalidInput, match=re.escape("labels.com.openfaas.scale.min: must be a string, not a number")):
        parse('{"labels": {"com.openfaas.scale.min": 1}}').text_map("labels")


def test_a_wrong_item_of_a_list_is_named_by_its_place() -> None:
    with pytest.raises(InvalidInput, match=re.escape("secrets[1]: must be a string, not a boolean")):
        parse('{"secrets": ["a", true]}').texts("secrets")


def test_a_wrong_field_of_a_nested_object_is_named_by_its_path() -> None:
    with pytest.raises(InvalidInput, match=re.escape("limits.memory: must be a string, not a number")):
        parse('{"limits": {"memory": 128}}').child("limits").text("memory")


@pytest.mark.parametrize("value", ["[]", '"x"', "1"])
def test_maps_and_objects_refuse_other_kinds(value: str) -> None:
    body = parse(f'{{"a": {value}}}')
    with pytest.raises(InvalidInput, match="a: must be an object"):
        body.text_map("a")
    with pytest.raises(InvalidInput, match="a: must be an object"):
        body.child("a")


def test_a_flag_must_be_a_boolean() -> None:
    with pytest.raises(InvalidInput, match="must be true or false, not a string"):
        parse('{"readOnlyRootFilesystem": "true"}').flag("readOnlyRootFilesystem")


def test_base64_is_read_strictly_but_with_line_breaks() -> None:
    assert parse(r'{"rawValue": "AAEC\r\n/w=="}').blob("rawValue") == b"\x00\x01\x02\xff"


@pytest.mark.parametrize("text", ["a", "a===", "@@@@", "YQ", "YQ=", "Y Q=", "\N{SNOWMAN}"])
def test_bad_base64_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        JsonObject({"rawValue": text}).blob("rawValue")
    assert str(caught.value) == "rawValue: is not valid base64"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\\ud800"}',
        b"[]",
    ],
)
def test_what_is_not_one_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^request body: "):
        JsonObject.parse(body)


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    with pytest.raises(InvalidInput, match="nested too deeply"):
        JsonObject.parse(b'{"a":' * 200_000)


def test_the_offending_value_is_never_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse('{"name": ["topsecret"]}').text("name")
    assert "topsecret" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        JsonObject.parse(body)
