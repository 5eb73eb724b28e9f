from __future__ import annotations

from bench.rounds import alternate


def test_sides_take_turns_and_the_order_turns_round() -> None:
    order: list[str] = []
    alternate(3, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    assert "".join(order) == "abbaab"


def test_results_are_kept_by_side_and_round() -> None:
    counter = iter(range(4))
    assert alternate(2, {"a": lambda: next(counter), "b": lambda: next(counter)}) == {"a": [0, 3], "b": [1, 2]}
