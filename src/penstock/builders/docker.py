"""The docker builder: `docker build` and `docker push`, as whoever knows them would type them (contract watchdog-cli §4.4, point 6).

Chosen by `choose` where an engine answers. The engine's own cache decides what is built anew; what it says is passed on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.builders import watchdogimage
from penstock.builders.arguments import tell_of_unknown
from penstock.builders.context import assemble
from penstock.builders.imagewriter.dockerfile import base_images
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.builders.program import Programs
from penstock.errors import BuildFailed, NotSupported

PROXIES = ("http_proxy", "https_proxy", "no_proxy")
"""Of the environment; builds get them as arguments."""

BUILDX = "penstock"
"""Name of the buildx builder for several platforms."""
_STEP = re.compile(r"(?:Step \d+/\d+ :|#\d+ \[)\s*(.*)")
_NO_BUILDX = "buildx component is missing"


class DockerBuilder:
    """See `penstock.builders.model.ImageBuilder`."""

    name = "docker"
    makes_images = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._programs = Programs()

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Assemble the context and let the engine build it."""
        started = time.monotonic()
        if len(request.platforms) > 1:
            raise NotSupported(
                f"an engine keeps an image for one platform, and {len(request.platforms)} are wanted; penstock publish builds several"
            )
        context = assemble(request, self._programs.check)
        tell_of_unknown(request, read_dockerfile(context), progress)
        given = self._watchdog(request, context, progress)
        before = self._identity(request.image)
        if request.pull:
            self._pull(request, context, given, progress)
        command = ["docker", "build", *self.flags(request, given), "--tag", request.image, "."]
        try:
            self._programs.run(
                command, directory=context, environ=self.environment(request), hear=lambda line: _tell(line, progress)
            )
        except BuildFailed as error:
            if _NO_BUILDX in error.words:
                raise NotSupported(
                    f"function {request.function.name!r} needs BuildKit for its build secrets or ssh, and this docker command"
                    " has no buildx: install docker-buildx (Debian 13 or later) or Docker's docker-buildx-plugin, or build with"
                    " --builder buildah"
                ) from error
            raise
        after = self._identity(request.image)
        return Built(
            function=request.function.name,
            image=request.image,
            cached=bool(before) and before == after,
            seconds=time.monotonic() - started,
        )

    def push(self, image: str, progress: Progress) -> None:
        """`docker push`, with the logins that docker has."""
        self._programs.run(["docker", "push", image], environ=self._environ, hear=progress)

    def publish(self, request: BuildRequest, names: Sequence[str], progress: Progress) -> None:
        """`docker buildx build --push`, by a buildx builder of our own, since an engine's own mostly cannot build for others."""
        if not self._answers("docker", "buildx", "version"):
            raise NotSupported(
                "an image for several platforms needs buildx, and this docker command has none: install docker-buildx (Debian 13"
                " or later) or Docker's docker-buildx-plugin; for a Dockerfile without RUN, --builder image makes one without it"
            )
        context = assemble(request, self._programs.check)
        tell_of_unknown(request, read_dockerfile(context), progress)
        watchdogimage.wanted(request, read_dockerfile(context))  # raises, for there is none for all platforms
        if not self._answers("docker", "buildx", "inspect", BUILDX):
            create = ["docker", "buildx", "create", "--name", BUILDX, "--driver", "docker-container"]
            self._programs.run(create, environ=self._environ)
        several = msgspec.structs.replace(request, platforms=(",".join(request.platforms),), squash=False)
        flags = [flag for flag in self.flags(several, {}) if flag != "--force-rm"]
        flags += ["--pull"] if request.pull else []
        tags = [part for name in names for part in ("--tag", name)]
        self._programs.run(
            ["docker", "buildx", "build", "--builder", BUILDX, *flags, *tags, "--push", "."],
            directory=context,
            environ={**self._environ, "BUILDKIT_PROGRESS": "plain"},
            hear=lambda line: _tell(line, progress),
        )

    def _answers(self, *command: str) -> bool:
        try:
            self._programs.run(command, environ=self._environ)
        except BuildFailed:
            return False
        return True

    def cancel(self) -> None:
        """See `penstock.builders.model.Builder`."""
        self._programs.cancel()

    def flags(self, request: BuildRequest, given: Mapping[str, str]) -> list[str]:
        """What the request means in flags of `docker build` or `docker buildx build`, without tag and context."""
        arguments = {**proxies(self._environ), **given, **request.build_args}
        flags = ["--no-cache"] if request.no_cache else []
        flags += ["--squash"] if request.squash else []
        flags += [part for item in sorted(arguments.items()) for part in ("--build-arg", "=".join(item))]
        flags += [part for item in sorted(request.labels.items()) for part in ("--label", "=".join(item))]
        flags += [part for platform in request.platforms for part in ("--platform", platform)]
        if needs_buildkit(request):
            secrets = sorted(request.function.build_secrets.items())
            flags += [part for name, file in secrets for part in ("--secret", f"id={name},src={file}")]
            flags += ["--ssh", "default"] if request.template and request.template.mount_ssh else []
            flags += ["--progress", "plain"]
        else:
            flags += ["--force-rm"]  # of the older builder, which would leave a container where a step fails
        return flags

    def environment(self, request: BuildRequest) -> dict[str, str]:
        """For a build of this request."""
        kit = {"DOCKER_BUILDKIT": "1"} if needs_buildkit(request) else {}
        return {"BUILDKIT_PROGRESS": "plain", **self._environ, **kit}

    def _watchdog(self, request: BuildRequest, context: Path, progress: Progress) -> dict[str, str]:
        """The build arguments that go with our own image, which the engine then has."""
        dockerfile = read_dockerfile(context)
        if not watchdogimage.wanted(request, dockerfile):
            return {}
        reference = watchdogimage.reference()
        if not self._identity(reference):
            image = watchdogimage.provide(self._environ, progress)
            progress("giving the engine the watchdog's image")
            self._programs.run(["docker", "load", "--input", str(image.file)], environ=self._environ)
        return watchdogimage.arguments(request, dockerfile)

    def _pull(self, request: BuildRequest, context: Path, given: Mapping[str, str], progress: Progress) -> None:
        """What `--pull` means, but for our own image, which no registry has."""
        for base in base_images(read_dockerfile(context), {**given, **request.build_args}):
            if base != given.get(watchdogimage.ARGUMENT):
                progress(f"pulling {base}")
                platform = [part for name in request.platforms for part in ("--platform", name)]
                self._programs.run(["docker", "pull", *platform, base], environ=self._environ)

    def _identity(self, image: str) -> str:
        """The image's id in the engine; empty when it has none of that name."""
        try:
            return self._programs.run(
                ["docker", "image", "inspect", "--format", "{{.Id}}", image], environ=self._environ
            ).strip()
        except BuildFailed as error:
            if "No such image" in error.words:
                return ""
            raise


def needs_buildkit(request: BuildRequest) -> bool:
    """Whether the older builder cannot do it."""
    return bool(request.function.build_secrets) or bool(request.template and request.template.mount_ssh)


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Build arguments for the proxies of the environment, in either spelling."""
    return dict(_proxies(environ))


def _proxies(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in PROXIES:
        if value := environ.get(name) or environ.get(name.upper()):
            yield name, value


def read_dockerfile(context: Path) -> str:
    """The context's Dockerfile; empty where it has none, which its builder then says."""
    try:
        return (context / "Dockerfile").read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _tell(line: str, progress: Progress) -> None:
    if found := _STEP.match(line):
        progress(found[1][:200])
