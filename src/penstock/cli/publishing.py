"""Which images can be published, and for which platforms.

Used by `publish`, and by `up --publish`.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.builders.many import Job
from penstock.builders.model import BuildRequest
from penstock.cli.pushing import names_a_place
from penstock.errors import InvalidInput
from penstock.providers.containers.reference import parse


def platforms_of(text: str, *, elsewhere: bool = False) -> tuple[str, ...]:
    """A list with commas; empty where it is this machine's own alone, which needs no special way unless it is built `elsewhere`."""
    from penstock.builders.watchdogimage import machine  # late, with the watchdog

    wanted = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    return () if wanted == (machine(),) and not elsewhere else wanted


def publishable(job: Job, tags: Sequence[str] = ()) -> Job:
    """The job, or why it cannot be published."""
    if job.request is None:
        return job
    try:
        _check(job.request, tags)
    except InvalidInput as error:
        return Job(name=job.name, fault=error)
    return job


def _check(request: BuildRequest, tags: Sequence[str]) -> None:
    name = parse(request.image)
    if not names_a_place(request.image):
        raise InvalidInput(
            f"{request.function.where}: image {request.image!r} names neither a registry nor an account;"
            f" such as registry.example.com/{request.image}"
        )
    for tag in tags:
        parse(f"{name.name}:{tag}")
