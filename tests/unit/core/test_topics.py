from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.topics import (
    MOST_TOPICS,
    Output,
    Subscription,
    Topic,
    check_topics,
    parse_output,
    parse_topics,
    subscription_of,
)
from penstock.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("s3:photos", Topic("photos")),
        ("s3:photos:", Topic("photos")),
        ("s3:photos:*", Topic("photos")),
        ("s3:photos:in/", Topic("photos", "in/")),
        ("s3:photos:in/*", Topic("photos", "in/")),
        ("s3:photos:in/*:.jpg", Topic("photos", "in/", ".jpg")),
        ("s3:photos:in/*:*.jpg", Topic("photos", "in/", ".jpg")),
        ("s3:photos::.jpg", Topic("photos", "", ".jpg")),
        ("s3:photos:a%3Ab%2Cc%2A%25*", Topic("photos", "a:b,c*%")),
        ("s3:photos:gr%C3%BC%C3%9Fe", Topic("photos", "grüße")),
        ("s3:my.old-bucket", Topic("my.old-bucket")),
    ],
)
def test_a_topic_names_a_bucket_and_may_name_how_keys_begin_and_end(text: str, topic: Topic) -> None:
    assert parse_topics(text) == (topic,)


def test_topics_of_connectors_are_left_to_them() -> None:
    assert parse_topics(" cron-function, s3:one ,payments.*,, s3:two:x") == (Topic("one"), Topic("two", "x"))


@pytest.mark.parametrize(
    "text",
    [
        *("s3:", "s3::x", "s3:a", "s3:b u", "s3:../x", "s3:My_Bucket", "s3:photos/x", "s3://photos/x"),
        *("s3:photos:a*b", "s3:photos:**", "s3:photos::a*", "s3:photos:a:b:c"),
        *("s3:photos:%", "s3:photos:%zz", "s3:photos:%ff"),
    ],
)
def test_a_topic_that_cannot_be_read_is_refused_by_its_annotation(text: str) -> None:
    with pytest.raises(InvalidInput, match="annotations: topic: "):
        parse_topics(text)


def test_a_function_has_a_bounded_number_of_topics() -> None:
    assert len(parse_topics(",".join(["s3:abc"] * MOST_TOPICS))) == MOST_TOPICS
    with pytest.raises(InvalidInput, match="at most"):
        parse_topics(",".join(["s3:abc"] * (MOST_TOPICS + 1)))


@pytest.mark.parametrize(
    ("topic", "bucket", "key", "covered"),
    [
        (Topic("b"), "b", "anything", True),
        (Topic("b"), "other", "anything", False),
        (Topic("b", "in/"), "b", "in/x", True),
        (Topic("b", "in/"), "b", "x/in/", False),
        (Topic("b", "in/", ".jpg"), "b", "in/a.jpg", True),
        (Topic("b", "in/", ".jpg"), "b", "in/a.JPG", False),
        (Topic("b", "a.jpg", ".jpg"), "b", "a.jpg", True),
    ],
)
def test_a_topic_covers_the_keys_that_begin_and_end_as_it_says(
    topic: Topic, bucket: str, key: str, covered: bool
) -> None:
    assert topic.covers(bucket, key) is covered


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("s3://out/{key}.png", "in/my cat.tar.gz.png"),
        ("s3://out/thumbs/{name}", "thumbs/my cat.tar.gz"),
        ("s3://out/{stem}.txt", "my cat.tar.txt"),
        ("s3://out/{etag}/{stem}-{etag}", "abc/my cat.tar-abc"),
        ("s3://out/fixed", "fixed"),
        ("s3://out/%7Bkey%7D {key}", "{key} in/my cat.tar.gz"),
    ],
)
def test_the_places_of_an_output_are_filled_from_the_object(template: str, written: str) -> None:
    assert parse_output(template).key("in/my cat.tar.gz", "abc") == written


@pytest.mark.parametrize(
    ("key", "stem"), [("a/.hidden", ".hidden"), ("plain", "plain"), ("folder/", "folder"), ("{etag}.x", "{etag}")]
)
def test_a_stem_is_the_last_name_without_its_ending(key: str, stem: str) -> None:
    assert parse_output("s3://out/{stem}").key(key, "E") == stem


@pytest.mark.parametrize(
    "text",
    [
        *("", "out/{key}", "s3://", "s3://out", "s3://out/", "s3://{key}/x", "s3://out/{nokey}", "s3://out/{}"),
        *("s3://out/{key", "s3://out/key}", "s3://out/%zz", "s3://out/{{key}}"),
    ],
)
def test_an_output_that_cannot_be_read_is_refused_by_its_annotation(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"annotations: com\.penstock\.storage\.output: "):
        parse_output(text)


@pytest.mark.parametrize("key", ["k" * 1021, "ü" * 511])
def test_an_output_whose_key_is_too_long_is_refused(key: str) -> None:
    assert parse_output("s3://out/{key}").key(key, "") == key
    with pytest.raises(InvalidInput, match="keys have 1 to 1024"):
        parse_output("s3://out/{key}.png").key(key, "")


def test_annotations_make_a_subscription() -> None:
    annotations = {
        "topic": "s3:incoming:*:.jpg",
        "com.penstock.storage.events": "removed, created",
        "com.penstock.storage.output": "s3://out/{key}",
    }
    subscription = subscription_of(annotations)
    assert subscription == Subscription(
        (Topic("incoming", "", ".jpg"),), ("created", "removed"), Output("out", ("{key}",))
    )
    assert subscription.covers("removed", "incoming", "a.jpg")
    assert not subscription.covers("created", "incoming", "a.png")


def test_only_arrivals_are_told_unless_the_function_wants_otherwise() -> None:
    subscription = subscription_of({"topic": "s3:incoming"})
    assert subscription
    assert subscription.covers("created", "incoming", "a")
    assert not subscription.covers("removed", "incoming", "a")


@pytest.mark.parametrize("annotations", [{}, {"topic": "cron-function"}, {"com.penstock.storage.events": "created"}])
def test_without_a_topic_of_object_storage_there_is_no_subscription(annotations: dict[str, str]) -> None:
    assert subscription_of(annotations) is None
    check_topics(annotations)


@pytest.mark.parametrize(
    ("annotations", "fault"),
    [
        ({"com.penstock.storage.ouput": "s3://b/x"}, "there is no 'com.penstock.storage.ouput'"),
        ({"com.penstock.storage.events": "deleted"}, "'deleted' is unknown"),
        ({"com.penstock.storage.output": "elsewhere"}, "is no reference"),
        ({"topic": "s3:"}, "is not s3:bucket"),
    ],
)
def test_what_cannot_be_used_is_refused_when_a_function_is_deployed(annotations: dict[str, str], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        check_topics(annotations)


@given(st.text(max_size=60))
def test_no_text_makes_anything_but_topics_or_a_refusal(text: str) -> None:
    for annotation in ({"topic": f"s3:{text}"}, {"com.penstock.storage.output": f"s3://{text}"}):
        try:
            check_topics(annotation)
        except InvalidInput as error:
            assert str(error).isprintable()
