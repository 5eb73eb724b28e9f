"""Which buckets may be touched: the lists of the settings and of functions. Pure."""

from __future__ import annotations

from collections.abc import Collection

from penstock.storage.errors import BucketNotAllowed
from penstock.storage.reference import ObjectRef


def check_bucket(ref: ObjectRef, allowed: Collection[str], whose: str = "PENSTOCK_S3_BUCKETS") -> None:
    """Raises BucketNotAllowed unless the object's bucket is one of those that are `allowed` by `whose` list.

    The other names are not told: who may not know of a bucket does not learn of it here.
    """
    if ref.bucket not in allowed:
        raise BucketNotAllowed(f"the bucket {ref.bucket} is not allowed: {whose} does not name it")
