"""The fixture of every test that needs a cluster: nothing starts before a test asks, and all of it ends with the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.fixtures import absent, or_absent, require
from tests.engines.images import import_busybox
from tests.kubecluster.build import BuildFailed
from tests.kubecluster.cluster import Cluster, ClusterFailed


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of one node that tests share, each with namespaces of its own: whoever stops a part of it starts it again."""
    require("etcd", "openssl", "jq", "musl-gcc")
    try:
        with or_absent():
            made = Cluster()
    except (BuildFailed, ClusterFailed) as error:
        absent(f"cannot be had on this machine: {error}")
    yield made
    made.close()


@pytest.fixture(scope="session")
def kubernetes(cluster: Cluster, made_image: dict[str, Any]) -> Cluster:
    """The same with what functions are made of: `busybox:it`, and our own image (`tests.image.TAG`) for the watchdog."""
    require("busybox")
    import_busybox(cluster)
    cluster.load(Path(made_image["path"]))
    return cluster
