"""The fixture of every test that needs a cluster: nothing starts before a test asks, and all of it ends with the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.fixtures import absent, or_absent, require
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
