"""How long an idle function stays up, and when its next call is due, learned from its own pauses. Pure, without a clock.

The scaler keeps one `Idleness` for each function with the label `com.penstock.scale.zero-duration: auto`. It calls `note_gap` with
the seconds that a pause has lasted when activity begins after it, and gives `limit(idle)` to `core.scaling.decide` as the limit of
idleness: until `warm_after` that is `keep_for`, from then on `leave_after`. A function at rest is given one replica as soon as
`due(idle)` is true; `decide` takes it away again when nothing came by `leave_after`. What it knows outlives the process as `Pauses`,
which `autoscaler.learned` keeps.

The policy is that of Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020): a histogram of pauses whose head and tail say
when to start again and how long to stay. Bins here grow with the pause, and what was long ago weighs less.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

SHORTEST, LONGEST = 10.0, 3600.0
"""Seconds that a function stays up at least and at most. A pause shorter than the first is no pause: a replica outlives it anyway."""

LONGEST_GAP = 25 * 3600.0
"""Seconds. Longer pauses are all alike; a call once a day can still be foreseen."""

ENOUGH = 8
"""Pauses from which something is learned."""

HEAD, TAIL = 0.05, 0.95
"""Shares of the pauses that may be shorter, and that are no longer. The paper leaves one in a hundred; that takes hundreds of pauses."""

MARGIN = 0.1
"""Of a time, by which a replica is ready earlier and stays longer."""

REGULAR = 1.25
"""The tail is at most so many times the head where the next call can be foreseen."""

WORTH = 60.0
"""Seconds that a replica has to be away for; for less it stays."""

FORGET = 0.98
"""What an older pause weighs against the one after it: about 50 count."""

LAST_BIN = 187
"""Bin `n` holds pauses of at most `SHORTEST` times 1.05 to the power of `n`; this one those of `LONGEST_GAP`."""

_RATIO = 1.05
_HEAVIEST = 1e100
_LIGHTEST = 1e-9
"""Of the newest pause's weight: what weighs less is no longer known."""


class Pauses(msgspec.Struct, frozen=True):
    """What is known of pauses, to be kept and taken up again."""

    seen: Annotated[int, msgspec.Meta(ge=0, le=ENOUGH)] = 0
    """How many there were; beyond `ENOUGH` it does not matter."""
    weights: dict[Annotated[int, msgspec.Meta(ge=0, le=LAST_BIN)], Annotated[float, msgspec.Meta(gt=0, le=100)]] = {}
    """By bin; the newest pause weighs 1, and all together about 50."""

    def __post_init__(self) -> None:
        """Raises ValueError where the two contradict each other."""
        if bool(self.seen) != bool(self.weights):
            raise ValueError(f"{self.seen} pauses cannot be in {len(self.weights)} bins")


class Idleness:
    """What is known of one function's pauses. At most 188 numbers; noting a pause changes one of them."""

    __slots__ = ("_bins", "_known", "_seen", "_weight", "usual")

    def __init__(self, usual: float = 900.0, known: Pauses | None = None) -> None:
        self.usual = usual
        """Seconds to stay up while nothing is learned, or where nothing can be."""
        self._bins: dict[int, float] = dict(known.weights) if known else {}
        self._weight = 1.0
        """Of the newest pause. It grows, which is less work than to make all others lighter."""
        self._seen = known.seen if known else 0
        self._known: tuple[float, float] | None = None

    @property
    def pauses(self) -> Pauses:
        """What another one can be made of that knows the same."""
        return Pauses(self._seen, self._relative(self._weight))

    def note_gap(self, seconds: float) -> None:
        """Activity has begun after so many seconds without any."""
        if not seconds >= SHORTEST:
            return
        number = math.ceil(math.log(min(seconds, LONGEST_GAP) / SHORTEST, _RATIO))
        self._weight /= FORGET
        self._bins[number] = self._bins.get(number, 0.0) + self._weight
        self._seen = min(self._seen + 1, ENOUGH)
        self._known = None
        if self._weight > _HEAVIEST:
            self._bins = self._relative(_HEAVIEST)
            self._weight /= _HEAVIEST

    def keep_for(self) -> float:
        """Seconds of idleness for which a function that was just active stays up."""
        if self.warm_after() is not None:
            return SHORTEST
        _, tail = self._ends()
        if self._seen < ENOUGH or tail > LONGEST:
            return self.usual
        return min(max(tail * (1 + MARGIN), SHORTEST), LONGEST)

    def warm_after(self) -> float | None:
        """Seconds of idleness after which a replica should start for the call that is due. None: no call can be foreseen."""
        head, tail = self._ends()
        start = head * (1 - MARGIN)
        if self._seen < ENOUGH or tail >= LONGEST_GAP or tail > head * REGULAR or start < SHORTEST + WORTH:
            return None
        return start

    def leave_after(self) -> float:
        """Seconds of idleness after which the call that was due is not waited for any longer."""
        return self._ends()[1] * (1 + MARGIN)

    def limit(self, idle: float) -> float:
        """Seconds of idleness after which no replica is wanted, for a function that has been idle for `idle` seconds."""
        warm = self.warm_after()
        return self.keep_for() if warm is None or idle < warm else self.leave_after()

    def due(self, idle: float) -> bool:
        """Whether a function that has been idle for so long, and is at rest, should have a replica for a call that is due."""
        warm = self.warm_after()
        return warm is not None and warm <= idle < self.leave_after()

    def _relative(self, unit: float) -> dict[int, float]:
        return {number: weight / unit for number, weight in self._bins.items() if weight / unit > _LIGHTEST}

    def _ends(self) -> tuple[float, float]:
        """The head, a time that few pauses are shorter than, and the tail, one that few are longer than."""
        if self._known is None:
            self._known = self._lower(HEAD), self._upper(TAIL)
        return self._known

    def _lower(self, share: float) -> float:
        return SHORTEST * _RATIO ** (self._bin(share) - 1)

    def _upper(self, share: float) -> float:
        return SHORTEST * _RATIO ** self._bin(share)

    def _bin(self, share: float) -> int:
        """The first bin with which so large a share of the pauses is no longer."""
        left = share * sum(self._bins.values())
        for number in sorted(self._bins):
            left -= self._bins[number]
            if left <= 0:
                return number
        return max(self._bins, default=0)
