from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wrk import Load, LoadFailed, parse

PRINTED = """\
Running 2s test @ http://127.0.0.1:40001/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   612.31us  201.11us   5.62ms   83.12%
    Req/Sec    52.10k     3.42k   57.43k    75.00%
  Latency Distribution
     50%  583.00us
     75%  690.00us
     90%  830.00us
     99%    1.31ms
  103655 requests in 2.00s, 17.10MB read
Requests/sec:  51820.22
Transfer/sec:      8.55MB
"""


def test_rate_requests_and_percentiles_are_read() -> None:
    assert parse(PRINTED) == Load(rate=51820.22, requests=103655, p50=583.0, p99=1310.0)


@pytest.mark.parametrize(("printed", "microseconds"), [("830.00us", 830.0), ("1.50ms", 1500.0), ("1.02s", 1.02e6)])
def test_latencies_are_microseconds_whatever_their_unit(printed: str, microseconds: float) -> None:
    assert parse(PRINTED.replace("1.31ms", printed)).p99 == microseconds


def test_answers_that_are_errors_make_the_run_worthless() -> None:
    bad = PRINTED.replace("Requests/sec", "  Non-2xx or 3xx responses: 12\nRequests/sec")
    with pytest.raises(LoadFailed, match="12 of 103655 answers"):
        parse(bad)


def test_socket_errors_make_the_run_worthless() -> None:
    bad = PRINTED.replace("Requests/sec", "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec")
    with pytest.raises(LoadFailed, match="read 3"):
        parse(bad)


def test_socket_errors_that_are_all_zero_are_none() -> None:
    fine = PRINTED.replace("Requests/sec", "  Socket errors: connect 0, read 0, write 0, timeout 0\nRequests/sec")
    assert parse(fine).requests == 103655


@pytest.mark.parametrize(
    "line", ["Requests/sec:  51820.22\n", "     99%    1.31ms\n", "  103655 requests in 2.00s, 17.10MB read\n"]
)
def test_a_missing_number_is_an_error(line: str) -> None:
    with pytest.raises(LoadFailed, match="something else"):
        parse(PRINTED.replace(line, ""))


@given(st.text())
def test_other_text_is_refused_and_not_misread(text: str) -> None:
    with pytest.raises(LoadFailed):
        parse(text)
