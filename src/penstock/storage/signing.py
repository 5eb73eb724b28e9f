"""AWS Signature Version 4 of a request without a body, for what the storage library does not do. Pure.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlsplit

from penstock.storage.credentials import Keys

EMPTY = hashlib.sha256(b"").hexdigest()
"""Digest of a body that is not there."""


def query_text(parameters: Mapping[str, str]) -> str:
    """A query in the canonical form: sorted, and encoded as the signature wants it."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(parameters.items()))


def signed_headers(
    method: str, url: str, region: str, keys: Keys, now: datetime, digest: str = EMPTY
) -> dict[str, str]:
    """The header fields that make a request the key owner's. `url` has its path and query in the canonical form; `now` is UTC;
    `digest` is the SHA-256 of the body in hexadecimal.
    """
    parts = urlsplit(url)
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    fields = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": moment}
    if keys.token:
        fields["x-amz-security-token"] = keys.token
    names = ";".join(sorted(fields))
    lines = [f"{name}:{fields[name]}" for name in sorted(fields)]
    request = "\n".join([method, parts.path or "/", parts.query, *lines, "", names, digest])
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    secret = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    fields["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    del fields["host"]
    return fields
