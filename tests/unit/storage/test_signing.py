"""Signatures are those of Amazon's own examples."""

from __future__ import annotations

from datetime import UTC, datetime

from penstock.storage.credentials import Keys
from penstock.storage.signing import query_text, signed_headers

KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MOMENT = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_published_example_of_a_listing() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Get Bucket (List Objects)"
    url = f"https://examplebucket.s3.amazonaws.com/?{query_text({'prefix': 'J', 'max-keys': '2'})}"
    authorization = signed_headers("GET", url, "us-east-1", KEYS, MOMENT)["authorization"]
    assert authorization.endswith("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," in authorization


def test_a_token_is_signed_with_the_rest() -> None:
    fields = signed_headers("GET", "http://host:9000/b", "r", Keys("a", "s", "t"), MOMENT)
    assert fields["x-amz-security-token"] == "t"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token," in fields["authorization"]


def test_a_query_is_sorted_and_encoded() -> None:
    assert query_text({"prefix": "a b+ü/~", "list-type": "2"}) == "list-type=2&prefix=a%20b%2B%C3%BC%2F~"
