from __future__ import annotations

import os
import uuid

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.callid import BATCH, CallIds


@given(st.binary(min_size=16 * BATCH, max_size=16 * BATCH))
def test_whatever_the_entropy_every_id_is_a_uuid_of_version_4(entropy: bytes) -> None:
    ids = CallIds(lambda size: entropy[:size])
    for _ in range(BATCH):
        text = ids.next().decode("ascii")
        parsed = uuid.UUID(text)
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122
        assert str(parsed) == text


def test_ids_do_not_repeat() -> None:
    ids = CallIds(os.urandom)
    assert len({ids.next() for _ in range(10_000)}) == 10_000


def test_entropy_is_asked_for_once_per_batch() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return os.urandom(size)

    ids = CallIds(entropy)
    for _ in range(BATCH):
        ids.next()
    assert asked == [16 * BATCH]
    ids.next()
    assert asked == [16 * BATCH] * 2
