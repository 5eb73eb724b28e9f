"""What `penstock generate --format swarm` writes, on a real Swarm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.fixtures import require
from tests.engines.images import import_busybox
from tests.engines.swarm import SwarmNode
from tests.engines.waiting import wait_until

pytestmark = pytest.mark.service("dockerd", "busybox")

STACK = """\
functions:
  said:
    image: said:it
    fprocess: cat $HOME ${UNSET:-}x
    environment: {A: "1e3", B: "$HOME $$${UNSET} {{.Node.ID}}", C: on}
    secrets: [token]
    labels: {com.openfaas.scale.min: 2, note: "$x"}
    annotations: {topic: a b}
    limits: {memory: 64m, cpu: 500m}
    requests: {memory: 16Mi}
    constraints: ["node.role == manager"]
    readonly_root_filesystem: true
"""


def test_a_plain_stack_deploy_takes_it_and_its_tasks_run(swarm_engine: SwarmNode, tmp_path: Path) -> None:
    require("busybox")
    script = "cat /var/openfaas/secrets/token; echo; touch /tmp/x && env; exec sleep 1000"
    import_busybox(swarm_engine, "said:it", [f"ENTRYPOINT {json.dumps(['/bin/sh', '-c', script])}"])
    swarm_engine.docker("secret", "create", "token", "-", data=b"the-secret")
    (tmp_path / "stack.yml").write_text(STACK)
    generated = subprocess.run(
        [sys.executable, "-m", "penstock", "generate", "--format", "swarm"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    swarm_engine.docker("stack", "deploy", "--resolve-image", "never", "-c", "-", "fns", data=generated.stdout)

    def running() -> list[str]:
        listed = swarm_engine.docker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=fns_said")
        return listed.split()

    try:
        containers = wait_until(lambda: found if len(found := running()) == 2 else [], "two tasks")
        wanted = {"the-secret", "A=1e3", "B=$HOME $ {{.Node.ID}}", "C=on", "fprocess=cat $HOME x"}
        wait_until(lambda: wanted <= set(swarm_engine.logs(containers[0]).splitlines()), f"{wanted} in its log")
        [service] = json.loads(swarm_engine.docker("service", "inspect", "fns_said"))
        assert service["Spec"]["Labels"]["topic"] == "a b" and service["Spec"]["Labels"]["note"] == "$x"
        assert service["Spec"]["TaskTemplate"]["Resources"]["Limits"] == {
            "NanoCPUs": 500000000,
            "MemoryBytes": 64 << 20,
        }
    finally:
        swarm_engine.docker("stack", "rm", "fns")
        wait_until(lambda: not running(), "the end of its tasks")
        swarm_engine.docker("secret", "rm", "token")
