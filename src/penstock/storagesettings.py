"""Object storage that functions' input and output may be in: where it is, which buckets, how long to wait.

A part of `penstock.settings`, which reads them from the environment. The keys are no part of them: they stay in the
environment or in a file, and `penstock.storage.credentials` reads them where they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BUCKET_RULE = "3 to 63 lower-case letters, digits, dots and hyphens"
"""The rule of `is_bucket_name`, for messages."""

MIN_PART, MAX_PART = 5 << 20, 5 << 30
"""Bytes of a part that is not the last one, as S3 allows them."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,62}")
_ENDPOINT = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9_.-]+)(:[0-9]{1,5})?/?")


@dataclass(frozen=True)
class StorageSettings:
    """An S3-compatible store. Sizes in bytes, times in seconds."""

    endpoint: str = ""
    """Address of the store, such as http://minio:9000. Empty: Amazon S3 of the region."""
    region: str = "us-east-1"
    """Region that requests are signed for. Most stores other than Amazon's do not mind."""
    buckets: str = ""
    """Buckets that functions may read and write, separated by commas. Nothing else in the store can be named in a request.
    Empty: object storage is off."""
    path_style: bool = True
    """Name the bucket in the path, as MinIO and Ceph expect it; false names it in the host, as newer regions of Amazon want."""
    credentials_file: str = ""
    """Where the keys are: an ini file as of Amazon's tools, whose [default] has aws_access_key_id and aws_secret_access_key, or a
    directory with the files access-key and secret-key, as platforms mount secrets. Empty: they are in PENSTOCK_S3_ACCESS_KEY
    and PENSTOCK_S3_SECRET_KEY, else in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    connect_timeout: float = 5.0
    """Opening a connection to the store; then it is tried again."""
    timeout: float = 60.0
    """A request to the store that is not answered, or an object of which nothing more comes; then it is tried again. A part
    of an upload must be through in this time."""
    retry_timeout: float = 30.0
    """From a request's start to its last new attempt, when the store cannot be reached or answers with a fault of its own."""
    part_size: int = 8 << 20
    """An object larger than this is uploaded in parts of this size, at least 5 MiB. A store takes 10,000 parts: this times 10,000
    is the largest output (80 GiB)."""
    parallel_parts: int = 4
    """Parts of one upload that are on their way at the same time: this times `part_size` is the memory that an upload takes."""
    poll: str = ""
    """Buckets to look into for new objects, separated by commas, when the store cannot notify Penstock. Empty: none."""
    poll_interval: float = 30.0
    """Between two looks into such a bucket."""
    poll_existing: bool = False
    """Whether the first look into a bucket tells functions of what is there already; otherwise only of what comes later."""
    events_in_flight: int = 8
    """Calls at once that tell functions of objects that came or went. One function has three quarters of them at most."""
    event_attempts: int = 10
    """Calls that fail until an event is given up; ten take nine minutes."""

    @property
    def allowed(self) -> frozenset[str]:
        """The names in `buckets`."""
        return frozenset(split_names(self.buckets))

    @property
    def polled(self) -> tuple[str, ...]:
        """The names in `poll`."""
        return split_names(self.poll)

    @property
    def is_on(self) -> bool:
        return bool(self.allowed)

    def faults(self) -> list[str]:
        """What cannot be used, each beginning with the variable's name after the prefix. No value with a password in it is told."""
        found = []
        if self.endpoint and not _ENDPOINT.fullmatch(self.endpoint):
            found.append("ENDPOINT: must be an address such as http://minio:9000, without a path, a user or a query")
        if not _REGION.fullmatch(self.region):
            found.append(f"REGION: {self.region!r} is no name of a region, such as us-east-1")
        for variable, names in (("BUCKETS", self.allowed), ("POLL", self.polled)):
            for name in sorted(names):
                if not is_bucket_name(name):
                    found.append(f"{variable}: {name!r} is no name of a bucket: {BUCKET_RULE}")
        for name in self.polled:
            if is_bucket_name(name) and name not in self.allowed:
                found.append(f"POLL: the bucket {name} is not one of PENSTOCK_S3_BUCKETS")
        for variable in ("connect_timeout", "timeout", "poll_interval"):
            if getattr(self, variable) <= 0:
                found.append(f"{variable.upper()}: must be more than 0 s")
        if not MIN_PART <= self.part_size <= MAX_PART:
            found.append(f"PART_SIZE: {self.part_size} must be from {MIN_PART} (5 MiB) to {MAX_PART} (5 GiB)")
        if not 1 <= self.events_in_flight <= 1000:
            found.append(f"EVENTS_IN_FLIGHT: {self.events_in_flight} must be from 1 to 1000")
        if not 1 <= self.event_attempts <= 1000:
            found.append(f"EVENT_ATTEMPTS: {self.event_attempts} must be from 1 to 1000")
        if not 1 <= self.parallel_parts <= 64:
            found.append(f"PARALLEL_PARTS: {self.parallel_parts} must be from 1 to 64")
        return found


def is_bucket_name(name: str) -> bool:
    """Whether a bucket can be called so, by the rules of S3."""
    return bool(_BUCKET.fullmatch(name)) and ".." not in name


def split_names(text: str) -> tuple[str, ...]:
    """The names in a comma list, without white space around them, in order, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
