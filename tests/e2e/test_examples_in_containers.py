"""The bundled examples in containers of a real Docker Engine and of a real Swarm: the same calls, the same answers.

Their image is a Debian that knows nothing of Penstock; the watchdog is injected. Left out are the examples whose programs
would make the image many times as large: ImageMagick, FFmpeg, Tesseract, a JDK and Node.
"""

from __future__ import annotations

import inspect
import io
import json
import tarfile
from collections.abc import Awaitable, Callable, Iterator

import pytest

from penstock.examples import examples_directory, load_examples
from penstock.model import FunctionSpec
from tests.e2e import test_examples as examples
from tests.e2e.serving import Penstock, serving
from tests.engines.engine import Engine
from tests.engines.images import OF_EXAMPLES, debian_tar, import_root
from tests.engines.swarm import SwarmNode

IMAGE = "examples:it"
PLACE = "/examples"

Case = Callable[[Penstock], Awaitable[None] | None]
CASES: list[Case] = [
    examples.test_wc_counts_lines_words_and_bytes,
    examples.test_jq_answers_json,
    examples.test_jq_on_what_is_not_json_is_an_error,
    examples.test_figlet_answers_what_the_readme_shows,
    examples.test_http_app_sees_path_query_and_body,
    examples.test_http_app_chooses_its_own_status,
    examples.test_static_site_serves_pages_and_their_types,
    examples.test_static_site_answers_conditional_and_partial_requests,
    examples.test_static_site_keeps_its_neighbours_to_itself,
    examples.test_sse_clock_events_arrive_while_the_clock_goes_on,
    examples.test_sse_clock_ends_after_the_count_that_was_asked_for,
    examples.test_ws_echo_sends_text_and_bytes_back,
    examples.test_ws_echo_serves_several_sockets_at_once,
    examples.test_python_search_finds_what_the_readme_shows,
    examples.test_python_stats_answers_what_the_readme_shows,
    examples.test_python_stats_of_a_column_that_is_not_there_names_those_that_are,
    examples.test_asgi_digest_is_that_of_the_body,
    examples.test_asgi_digest_tells_its_progress_while_the_body_is_on_its_way,
]
"""Calls of the tests of the examples; each names its example by its mark."""


def example_of(case: Case) -> str:
    [name] = [mark.args[0] for mark in getattr(case, "pytestmark", []) if mark.name == "example"]
    return str(name)


def specification(name: str) -> FunctionSpec:
    """The example as the stack file has it, with its files where the image has them."""
    specs = {spec.name: spec for spec in load_examples(python="/usr/bin/python3")}
    text = json.dumps(specs[name].env_vars).replace(str(examples_directory()), PLACE)
    program = specs[name].env_process.replace(str(examples_directory()), PLACE)
    return FunctionSpec(
        name=name, image=IMAGE, env_process=program, env_vars=json.loads(text), labels=specs[name].labels
    )


def import_examples(engine: Engine) -> None:
    """Give the engine the image: Debian, the packages, the examples' files."""
    import_root(engine, "examples-base:it", debian_tar(OF_EXAMPLES).read_bytes())
    container = engine.docker("create", "examples-base:it", "/bin/true")
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w") as archive:
        archive.add(examples_directory(), PLACE.strip("/"))
    engine.docker("cp", "-", f"{container}:/", data=files.getvalue())
    engine.docker("commit", container, IMAGE)
    engine.docker("rm", container)


def deployed(server: Penstock) -> Penstock:
    """The server with every example that is called."""
    for name in dict.fromkeys(example_of(case) for case in CASES):
        spec = specification(name)
        document = {
            "service": name,
            "image": IMAGE,
            "envProcess": spec.env_process,
            "envVars": spec.env_vars,
            "labels": spec.labels,
        }
        answer = server.request("POST", "/system/functions", json.dumps(document).encode(), admin=True)
        assert answer.status == 202, answer
    return server


@pytest.fixture(scope="module")
def on_docker(docker_engine: Engine) -> Iterator[Penstock]:
    import_examples(docker_engine)
    flags = ("--provider", "docker", "--docker-connect", "ip", "--pull", "never")
    with serving(*flags, environ={"DOCKER_HOST": docker_engine.url}) as server:
        yield deployed(server)


@pytest.fixture(scope="module")
def on_swarm(swarm_engine: SwarmNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    import_examples(swarm_engine)
    flags = ("--provider", "swarm", "--docker-connect", "port", "--pull", "never", "--installation", "examples")
    with serving(*flags, environ={"DOCKER_HOST": swarm_engine.url}) as server:
        yield deployed(server)
        for name in dict.fromkeys(example_of(case) for case in CASES):
            body = json.dumps({"functionName": name}).encode()
            assert server.request("DELETE", "/system/functions", body, admin=True).status == 202


async def run(case: Case, server: Penstock) -> None:
    server.wait_ready(example_of(case))
    outcome = case(server)
    if inspect.isawaitable(outcome):
        await outcome


@pytest.mark.service("dockerd", "debootstrap")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
async def test_in_a_container(on_docker: Penstock, case: Case) -> None:
    await run(case, on_docker)


@pytest.mark.service("dockerd", "debootstrap")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
async def test_on_a_swarm(on_swarm: Penstock, case: Case) -> None:
    await run(case, on_swarm)
