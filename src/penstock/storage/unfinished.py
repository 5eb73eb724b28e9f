"""Uploads in parts that nobody has finished or given up, as a program that was killed leaves them: found, and removed.

Not done by the storage library, which knows only uploads of its own. Used by `penstock storage clean`.
"""

from __future__ import annotations

import xml.etree.ElementTree
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, unquote

from penstock.storage.errors import ObjectNotFound, StorageError, UploadFailed
from penstock.storage.listing import PAGE, Lister
from penstock.storage.reference import ObjectRef


class Unfinished(NamedTuple):
    """An upload: `begun` in seconds since 1970."""

    ref: ObjectRef
    upload: str
    begun: float


class UnfinishedPage(NamedTuple):
    """Some uploads as pairs of key and id, when each was begun, and the markers to ask for the next ones with; empty at the end."""

    uploads: list[tuple[str, str, float]]
    markers: dict[str, str]


async def unfinished(lister: Lister, bucket: str, prefix: str = "") -> AsyncIterator[Unfinished]:
    """Those of the keys that begin with `prefix` (ListMultipartUploads). Raises the errors of storage."""
    markers: dict[str, str] = {}
    while True:
        parameters = {"uploads": "", "encoding-type": "url", "max-uploads": str(PAGE), "prefix": prefix, **markers}
        page = read_uploads(await lister.ask("GET", bucket, "", parameters))
        for key, upload, begun in page.uploads:
            yield Unfinished(ObjectRef(bucket, key), upload, begun)
        if not page.markers or page.markers == markers:
            return
        markers = page.markers


async def remove_parts(lister: Lister, one: Unfinished) -> None:
    """Remove the parts of an upload (AbortMultipartUpload); that it has ended meanwhile is no error. Raises the errors of storage."""
    try:
        await lister.ask("DELETE", one.ref.bucket, quote(one.ref.key, safe="/~"), {"uploadId": one.upload})
    except (ObjectNotFound, UploadFailed):
        return


def read_uploads(body: bytes) -> UnfinishedPage:
    """The uploads that an answer tells. Raises StorageError for what is no such answer."""
    try:
        root = xml.etree.ElementTree.fromstring(body)  # noqa: S314 - the answer of the store that we are told to use
        space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        uploads = [_upload(item, space) for item in root.iter(f"{space}Upload")]
        markers = {
            "key-marker": unquote(root.findtext(f"{space}NextKeyMarker", "").replace("+", " ")),
            "upload-id-marker": root.findtext(f"{space}NextUploadIdMarker", ""),
        }
        truncated = root.findtext(f"{space}IsTruncated", "") == "true"
    except (xml.etree.ElementTree.ParseError, ValueError) as error:
        raise StorageError("the object store's list of uploads is not what S3 answers") from error
    return UnfinishedPage(uploads, {name: value for name, value in markers.items() if value} if truncated else {})


def _upload(item: xml.etree.ElementTree.Element, space: str) -> tuple[str, str, float]:
    key, upload = item.findtext(f"{space}Key", ""), item.findtext(f"{space}UploadId", "")
    if not key or not upload:
        raise ValueError("an upload without a key or an id")
    return (
        unquote(key.replace("+", " ")),
        upload,
        datetime.fromisoformat(item.findtext(f"{space}Initiated", "")).timestamp(),
    )
