"""A cluster for trying things by hand, until Ctrl-C: `python -m tests.kubecluster`."""

from __future__ import annotations

import contextlib
import signal

from tests.kubecluster.cluster import Cluster


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in what a script starts in the background
        signal.signal(number, signal.default_int_handler)
    cluster = Cluster()
    with contextlib.closing(cluster):
        print(f"export KUBECONFIG={cluster.kubeconfig}")
        print(f"export DOCKER_HOST={cluster.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
