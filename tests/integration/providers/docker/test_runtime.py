"""Functions in containers of a real engine: what runs in them, with what rights, limits, secrets and addresses."""

from __future__ import annotations

import pytest

from tests.engines.engine import Engine
from tests.integration.providers.docker.harness import answer, deployed, running_box

pytestmark = [pytest.mark.service("dockerd", "busybox"), pytest.mark.usefixtures("busybox_image")]


async def test_a_program_of_an_unmodified_image_is_a_function(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        function = await deployed(provider, "upper", "busybox sed s/a/A/")
        assert await answer(function, b"banana\n") == "bAnana\n"
        assert function.replicas[0].started_at
        assert len(box.containers()) == 1
    assert not docker_engine.docker("ps", "-aq", "--filter", f"label=com.penstock.owner={box.installation}")
