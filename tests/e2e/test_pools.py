"""Programs that wait for requests or stay after them, through the whole platform: deployed, called, killed, scaled, removed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Workshop, below, wait_dead
from tests.e2e.serving import Penstock, serving, wait_until

LIBRARY = Path(__file__).parents[2] / "examples" / "afterburn" / "python" / "afterburn.py"

ONE_SHOT = """
import os, sys
born = os.getpid()
text = sys.stdin.read()
if text == "fail":
    sys.exit("failed on purpose")
print(born, text.upper(), end="")
"""

STAYS = """
import os, sys, time
sys.path.insert(0, os.path.dirname(__file__))
from afterburn import serve

def handle(request):
    if request.target == "/die":
        os._exit(9)
    if request.target == "/print":
        print("this must not reach the answer", flush=True)
        os.write(1, b"nor this")
    if request.target == "/sleep":
        time.sleep(600)
    return f"{os.getpid()} {len(request.body.read())}"

serve(handle)
"""


@pytest.fixture(scope="module")
def penstock(workshop: Workshop) -> Iterator[Penstock]:
    # Beside the program, since functions see of /tmp only where their own program is.
    workshop.file("afterburn.py").write_bytes(LIBRARY.read_bytes())
    with serving() as server:
        server.deploy("once", workshop.python("once", ONE_SHOT), mode="prefork", cgi_headers="false", pool_size="2")
        server.deploy("stays", workshop.python("stays", STAYS), mode="afterburn", pool_size="2")
        server.deploy("late", workshop.python("late", STAYS), mode="afterburn", pool_size="2", exec_timeout="3s")
        yield server


def programs(penstock: Penstock, name: str) -> list[int]:
    return [process.pid for process in below(penstock.process.pid, f"{name}.py")]


def full(penstock: Penstock, name: str) -> list[int]:
    """The two processes of a function's pool."""
    return wait_until(lambda: len(found := programs(penstock, name)) == 2 and found, f"two processes of {name}") or []


def test_a_request_is_answered_by_a_process_that_was_there_before_it(penstock: Penstock) -> None:
    waiting = full(penstock, "once")
    answer = penstock.invoke("once", b"hello")
    pid, _, text = answer.text.partition(" ")
    assert (answer.status, text, int(pid) in waiting) == (200, "HELLO", True)


def test_a_process_killed_while_it_waits_costs_no_request(penstock: Penstock) -> None:
    for pid in full(penstock, "once"):
        os.kill(pid, signal.SIGKILL)
        wait_dead(pid)
    assert penstock.invoke("once", b"hello").text.endswith("HELLO")
    full(penstock, "once")


def test_a_failure_of_one_that_waited_is_500_and_leaves_the_pool_whole(penstock: Penstock) -> None:
    answer = penstock.invoke("once", b"fail")
    assert (answer.status, answer.body) == (500, b"exit status 1")
    assert penstock.invoke("once", b"on").text.endswith("ON")
    full(penstock, "once")


def test_prefork_with_variables_of_requests_is_refused_with_the_reason(penstock: Penstock) -> None:
    answer = penstock.deploy("wrong", "cat", mode="prefork")
    assert answer.status == 400
    assert "cgi_headers: must be false in mode prefork" in answer.text


def test_programs_that_stay_serve_many_requests(penstock: Penstock) -> None:
    staying = full(penstock, "stays")
    bodies = [os.urandom(size) for size in (0, 1, 100_000, 3_000_000)]
    answers = [penstock.invoke("stays", body) for body in bodies]
    assert [int(answer.text.split()[1]) for answer in answers] == [len(body) for body in bodies]
    assert {int(answer.text.split()[0]) for answer in answers} <= set(staying)


def test_one_that_dies_costs_its_request_only(penstock: Penstock) -> None:
    answer = penstock.invoke("stays/die")
    assert (answer.status, answer.headers["x-openfaas-internal"]) == (502, "penstock-watchdog")
    assert {penstock.invoke("stays", b"x").status for _ in range(10)} == {200}
    full(penstock, "stays")


def test_what_a_handler_prints_is_no_part_of_the_answer(penstock: Penstock) -> None:
    answer = penstock.invoke("stays/print", b"x")
    assert (answer.status, answer.text.endswith(" 1")) == (200, True)


def test_a_call_that_takes_too_long_is_504_and_its_process_replaced(penstock: Penstock) -> None:
    before = full(penstock, "late")
    assert penstock.invoke("late/sleep").status == 504
    wait_until(lambda: len(set(before) & set(programs(penstock, "late"))) == 1, "the end of the process that slept")
    assert penstock.invoke_in_time("late", b"x").status == 200


def test_a_program_that_cannot_start_is_shown_with_its_reason(penstock: Penstock, workshop: Workshop) -> None:
    program = workshop.python("unlicensed", "import sys; sys.exit('no licence')")
    spec = {"service": "unlicensed", "image": "", "envProcess": program, "envVars": {"mode": "afterburn"}}
    assert penstock.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    wait_until(
        lambda: "exit status 1" in json.dumps(penstock.function("unlicensed")), "the reason in the function's status"
    )


def test_no_process_is_left_when_a_function_is_scaled_to_zero_and_a_request_starts_them_again(
    penstock: Penstock,
) -> None:
    for name in ("once", "stays"):
        before = full(penstock, name)
        wish = json.dumps({"serviceName": name, "replicas": 0}).encode()
        assert penstock.request("POST", f"/system/scale-function/{name}", wish, admin=True).status == 202
        wait_dead(*before)
        assert penstock.invoke(name, b"again").status == 200


def test_processes_of_pools_end_with_their_replica(penstock: Penstock) -> None:
    """SIGKILL to a watchdog leaves its pool to the zygote, which ends it; another replica takes over."""
    penstock.wait_ready("stays")
    before = full(penstock, "stays")
    watchdog = below(penstock.process.pid, "stays.py")[0].parent()
    assert watchdog is not None
    watchdog.kill()
    wait_dead(*before)
    wait_until(lambda: penstock.invoke("stays", b"x").status == 200, "an answer of the next replica")
