"""The image writer: alone, against a real registry, and beside the docker builder, whose images it must equal."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.builders.docker import DockerBuilder
from penstock.builders.imagewriter.builder import ImageWriter
from penstock.builders.imagewriter.image import Image, manifest_document
from penstock.builders.imagewriter.store import Store
from penstock.errors import NotFound, NotSupported, Unauthorized
from tests.conftest import debian_path
from tests.engines.engine import Engine
from tests.engines.fixtures import or_absent, require
from tests.engines.images import APPLETS, Root, import_root
from tests.engines.registry import Registry
from tests.engines.sandbox import Sandbox
from tests.integration.builders.imaging import ImageProject, settings
from tests.unit.builders.requests import write

ACCOUNT = ("ada", "pa:ss word")


@pytest.fixture
def alone(project: Path) -> ImageProject:
    """On a machine without an engine."""
    return ImageProject(project)


@pytest.fixture
def beside(project: Path, docker_engine: Engine) -> Iterator[ImageProject]:
    """Beside an engine."""
    made = ImageProject(project, docker_engine)
    yield made
    for image in docker_engine.docker("image", "ls", "--quiet", "--filter", "label=it=writer").split():
        docker_engine.docker("image", "rm", "--force", image)


@pytest.fixture(scope="module")
def closed_registry(docker_engine: Engine) -> Iterator[Registry]:
    """A registry that asks for a login."""
    require("docker-registry")
    with or_absent():
        sandbox = Sandbox()
        try:
            registry = Registry(sandbox, ACCOUNT)
        except BaseException:
            sandbox.close()
            raise
    yield registry
    registry.close()
    sandbox.close()


def kept(made: ImageProject, name: str) -> Image:
    image = Store(made.environ).find(name)
    assert image is not None
    return image


def test_a_template_becomes_an_image_without_any_engine(alone: ImageProject) -> None:
    built = ImageWriter(alone.environ).build(alone.request("words:one", alone.base_archive()), alone.told.append)
    image = kept(alone, "words:one")
    assert built.image == "words:one"
    assert image.settings["Entrypoint"] == ["/penstock/fwatchdog"]
    assert "Cmd" not in image.settings
    assert image.settings["WorkingDir"] == "/home/app"
    assert image.settings["Healthcheck"]["Interval"] == 5_000_000_000
    assert len(image.layers) == 4
    assert len(image.config["history"]) == 9


def test_the_same_sources_make_the_same_bytes_anywhere(alone: ImageProject) -> None:
    request = alone.request("words:one", alone.base_archive())
    ImageWriter(alone.environ).build(request, alone.told.append)
    first = manifest_document(kept(alone, "words:one"))
    again = ImageWriter(alone.environ).build(request, alone.told.append)
    assert again.cached
    shutil.rmtree(alone.builds / ".images")
    assert not ImageWriter(alone.environ).build(request, alone.told.append).cached
    assert manifest_document(kept(alone, "words:one")) == first
    (alone.here / "words/handler.sh").write_text("cat\n")
    assert not ImageWriter(alone.environ).build(request, alone.told.append).cached
    assert manifest_document(kept(alone, "words:one")) != first


def test_run_is_refused_by_line_before_anything_is_fetched(alone: ImageProject) -> None:
    alone.dockerfile("FROM registry.invalid/none\nCOPY Dockerfile /\nRUN apt-get install figlet\n")
    with pytest.raises(NotSupported, match=r"Dockerfile:3: RUN: .*apt-get install.*--builder docker"):
        ImageWriter(alone.environ).build(alone.request("a:1", "", "dockerfile"), alone.told.append)


RICH = """# escape=\\
ARG BASE
ARG WORD=unused
FROM scratch AS unneeded
RUN this is never run
FROM ${BASE} AS tools
WORKDIR /tools
COPY tree/ ./tree/
COPY --chmod=750 one.txt renamed
FROM $BASE
LABEL it=writer "with space"='single quoted' multi="a \\
b"
ARG WORD
ARG OWN="own ${WORD:-none}"
ENV A=1 B="two words" C=${A:+yes} D=$OWN \\
    E='$A' F=\\$A
ENV OLD style of ENV
WORKDIR /srv
WORKDIR data
COPY one.txt two.txt ./
COPY *.txt globbed/
COPY tree/ .
COPY ["one.txt", "with space.txt"]
COPY --chown=7:8 tree/inner /owned
COPY --chown=ada one.txt /by-name
COPY one.txt /bin/through-a-link
COPY --from=tools /tools /copied
COPY --from=1 /tools/renamed /
ADD packed.tar.gz /unpacked
ADD one.txt /added/
EXPOSE 80 53/udp 8000-8002
VOLUME /var/data /more
USER 12:13
STOPSIGNAL SIGQUIT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=7s --timeout=2s --start-period=1m --retries=4 CMD test -e /by-name
ENTRYPOINT ["/bin/echo", "$A"]
CMD shell form $A
"""


def rich_project(made: ImageProject) -> None:
    made.dockerfile(RICH)
    write(
        made.here / "words",
        {
            "one.txt": "one\n",
            "two.txt": "two\n",
            "tree/inner/deep.txt": "deep\n",
            "tree/left.out": "not copied\n",
            "tree/kept.out": "copied\n",
            "tree/empty/.gitkeep": "",
            ".dockerignore": "# comment\n**/*.out\n!tree/kept.out\nDockerfile\n",
        },
    )
    (made.here / "words/tree/inner/link").symlink_to("deep.txt")
    (made.here / "words/tree/inner/deep.txt").chmod(0o755)
    with tarfile.open(made.here / "words/packed.tar.gz", "w:gz") as archive:
        archive.add(made.here / "words/tree/inner", "inside")


def linked_base(engine: Engine) -> str:
    """A busybox whose /bin is a link, as those of all distributions are, with a user."""
    root = Root()
    busybox = shutil.which("busybox", path=debian_path())
    assert busybox is not None
    root.add("usr/bin/busybox", Path(busybox).read_bytes())
    for name in (*APPLETS, "find", "stat", "sort", "md5sum"):
        root.link(f"usr/bin/{name}", "busybox")
    root.link("bin", "usr/bin")
    root.folder("tmp")
    root.add("etc/passwd", b"root:x:0:0::/:/bin/sh\nada:x:41:42::/:/bin/sh\n", 0o644)
    root.add("etc/group", b"root:x:0:\nada:x:42:\n", 0o644)
    return import_root(engine, "linked:it", root.packed(), ["CMD base", "ENV PATH=/bin"])


LIST = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /etc/resolv.conf -o -path /etc/hosts -o -path /etc/hostname"
    " -o -path /etc/mtab -o -path /.dockerenv -o -path /etc -o -path / \\) -prune -o -exec stat -c '%n %A %u:%g %s %N' {} + | sort"
)


def listing(engine: Engine, image: str) -> list[str]:
    """All files of an image, with modes, owners, sizes and targets."""
    shell = ["--user", "0", "--network", "none", "--entrypoint", "/bin/sh"]
    lines = engine.docker("run", "--rm", *shell, image, "-c", LIST).splitlines()
    # The sizes of folders are the file system's own affair.
    return [line for line in lines if not line.split(" ")[1].startswith("d")] + [
        " ".join(line.split(" ")[:3]) for line in lines if line.split(" ")[1].startswith("d")
    ]


def test_a_dockerfile_means_the_same_to_it_as_to_docker(beside: ImageProject, docker_engine: Engine) -> None:
    require("busybox")
    rich_project(beside)
    base = linked_base(docker_engine)
    arguments = {"WORD": "given"}
    # The older builder knows neither chmod nor stages that it need not build.
    for_docker = RICH.replace(" --chmod=750", "").replace(
        "FROM scratch AS unneeded\nRUN this is never run\n", "FROM scratch\nLABEL unneeded=1\n"
    )
    ImageWriter(beside.environ).build(
        beside.request("rich:writer", base, "dockerfile", arguments=arguments), beside.told.append
    )
    beside.dockerfile(for_docker)
    DockerBuilder(beside.environ).build(
        beside.request("rich:docker", base, "dockerfile", arguments=arguments), beside.told.append
    )
    assert comparable(settings(docker_engine, "rich:writer")) == comparable(settings(docker_engine, "rich:docker"))
    ours = [
        line.replace("-rwxr-x---", "-rw-r--r--") if "renamed" in line else line
        for line in listing(docker_engine, "rich:writer")
    ]
    assert ours == listing(docker_engine, "rich:docker")


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Settings that both say, without what is empty and what Docker adds of its own."""
    left_out = {"Image", "Hostname", "Domainname", "OnBuild", "ArgsEscaped"}
    return {name: value for name, value in found.items() if value and name not in left_out}


def test_an_engine_beside_it_is_given_the_image(
    beside: ImageProject, docker_engine: Engine, busybox_image: str
) -> None:
    request = beside.request("writer:given", busybox_image, labels={"it": "writer"})
    ImageWriter(beside.environ).build(request, beside.told.append)
    run = ["run", "--rm", "--network", "none", "--entrypoint", "/penstock/fwatchdog", "writer:given", "--version"]
    assert docker_engine.docker(*run)


def test_push_and_base_of_a_registry_without_accounts(
    alone: ImageProject, docker_registry: Registry, docker_engine: Engine
) -> None:
    environ = {**alone.environ, "PENSTOCK_INSECURE_REGISTRIES": docker_registry.address}
    writer = ImageWriter(environ)
    image = f"{docker_registry.address}/deep/er/words:one"
    writer.build(alone.request(image, alone.base_archive()), alone.told.append)
    writer.push(image, alone.told.append)
    writer.push(image, alone.told.append)  # all is there
    there = f"{docker_registry.host}/deep/er/words:one"
    docker_engine.docker("pull", there)
    assert settings(docker_engine, there)["Entrypoint"] == ["/penstock/fwatchdog"]
    docker_engine.docker("image", "rm", there)

    shutil.rmtree(alone.builds / ".images")
    alone.dockerfile(f"FROM {image}\nENV MORE=1\n")
    ImageWriter(environ).build(alone.request("on-top:1", "", "dockerfile"), alone.told.append)
    assert any(words.startswith(f"pulling {image}: ") for words in alone.told)
    assert kept(alone, "on-top:1").settings["Env"][-1] == "MORE=1"


def test_layers_of_another_repository_are_not_sent_again(
    alone: ImageProject, docker_registry: Registry, docker_engine: Engine
) -> None:
    environ = {**alone.environ, "PENSTOCK_INSECURE_REGISTRIES": docker_registry.address}
    writer = ImageWriter(environ)
    alone.dockerfile("FROM scratch\nCOPY Dockerfile /once-for-all\n")
    first, second = (f"{docker_registry.address}/mounted/{name}:1" for name in ("first", "deep/second"))
    for image in (first, second):
        writer.build(alone.request(image, "", "dockerfile"), alone.told.append)
        writer.push(image, alone.told.append)
    taken = [words for words in alone.told if words.endswith("are taken from mounted/first")]
    assert len(taken) == 2  # the layer, and the configuration, which is the same
    there = f"{docker_registry.host}/mounted/deep/second:1"
    docker_engine.docker("pull", there)
    docker_engine.docker("image", "rm", there)


def test_an_image_of_several_platforms_is_published(
    alone: ImageProject, docker_registry: Registry, docker_engine: Engine
) -> None:
    environ = {**alone.environ, "PENSTOCK_INSECURE_REGISTRIES": docker_registry.address}
    alone.dockerfile("FROM scratch\nARG TARGETARCH\nENV MADE_FOR=$TARGETARCH\nCOPY Dockerfile /\n")
    image = f"{docker_registry.address}/several:1"
    request = alone.request(image, "", "dockerfile", platforms=("linux/amd64", "linux/arm64"))
    ImageWriter(environ).publish(request, [image], alone.told.append)
    shutil.rmtree(alone.builds / ".images")
    alone.dockerfile(f"FROM --platform=linux/arm64 {image}\n")
    ImageWriter(environ).build(alone.request("one-of-them:1", "", "dockerfile"), alone.told.append)
    found = kept(alone, "one-of-them:1")
    assert found.config["architecture"] == "arm64"
    assert "MADE_FOR=arm64" in found.settings["Env"]
    with pytest.raises(NotFound, match="not there for linux/riscv64, but for linux/amd64, linux/arm64"):
        alone.dockerfile(f"FROM --platform=linux/riscv64 {image}\n")
        ImageWriter(environ).build(alone.request("none:1", "", "dockerfile"), alone.told.append)


def test_a_registry_with_accounts_wants_the_right_one(alone: ImageProject, closed_registry: Registry) -> None:
    address = closed_registry.address
    environ = {**alone.environ, "PENSTOCK_INSECURE_REGISTRIES": address}
    alone.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    image = f"{address}/closed:1"
    ImageWriter(environ).build(alone.request(image, "", "dockerfile"), alone.told.append)
    with pytest.raises(Unauthorized, match=f"{address} wants a login: docker login"):
        ImageWriter(environ).push(image, alone.told.append)
    config = Path(alone.environ["DOCKER_CONFIG"]) / "config.json"

    config.write_text(json.dumps({"auths": {address: {"username": ACCOUNT[0], "password": "wrong"}}}))
    with pytest.raises(Unauthorized, match=f"{address} refuses ada"):
        ImageWriter(environ).push(image, alone.told.append)

    config.write_text(json.dumps({"auths": {address: {"username": ACCOUNT[0], "password": ACCOUNT[1]}}}))
    ImageWriter(environ).push(image, alone.told.append)


def test_what_was_not_built_cannot_be_pushed(alone: ImageProject) -> None:
    with pytest.raises(NotFound, match="build it first"):
        ImageWriter(alone.environ).push("registry.example.com/none:1", alone.told.append)


def test_the_watchdog_is_not_made_for_another_machine(alone: ImageProject) -> None:
    request = alone.request("words:riscv", alone.base_archive(), platforms=("linux/riscv64",))
    with pytest.raises(NotSupported, match="--build-arg WATCHDOG="):
        ImageWriter(alone.environ).build(request, alone.told.append)
