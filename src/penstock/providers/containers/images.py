"""Makes images present on an engine: looked up, or pulled by the policy, with progress and failures in words.

Called by the docker runtime and the Swarm provider before they make containers of an image. All who want the same image share
one pull, which is given up when the last of them gives up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Literal

from penstock.errors import PenstockError
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.containers.credentials import Credentials, Login
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.plan import ImageFacts, facts_of
from penstock.providers.containers.progress import Progress
from penstock.providers.containers.reference import Reference, parse
from penstock.providers.containers.refusals import Cause, refusal_of

PullPolicy = Literal["missing", "always", "never"]
Tell = Callable[[str], None]

SILENCE = 300.0
"""Seconds without a word from the engine after which a pull is given up. Engines report several times a second, but say
nothing while they wait for a registry (each of their own limits is 30 s) or write a large layer to a slow disk."""
STEP = 1.0
"""Seconds between two reports of progress, which become states of replicas that clients may watch."""
_NOT_THERE = 404

_log = logging.getLogger(__name__)


class ImageUnavailable(PenstockError):
    """An image cannot be had; the message says which, from where, why and what to do."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


class _Pull:
    """A pull under way and who waits for it."""

    def __init__(self, run: Callable[[_Pull], Coroutine[Any, Any, None]]) -> None:
        self.listeners: list[Tell] = []
        self.words = ""
        self.task = asyncio.create_task(run(self))

    def tell(self, words: str) -> None:
        if words != self.words:
            self.words = words
            for listener in tuple(self.listeners):
                listener(words)


class Images:
    """The images of one engine. `environ` is the server's: HOME and DOCKER_CONFIG say where credentials are kept."""

    def __init__(
        self,
        engine: Engine,
        policy: PullPolicy,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._credentials = Credentials(environ)
        self._clock = clock or SystemClock()
        self._silence = silence
        self._pulls: dict[str, _Pull] = {}

    async def ensure(self, reference: str, progress: Tell) -> ImageFacts:
        """The facts of an image that is present when this returns; `progress` is called with words while it is pulled.

        With the policy `always` an image is pulled although it is present, unless it is named by its digest; should the
        registry be out of reach then, the present one is used. Raises ImageUnavailable, ProviderUnavailable, EngineRefused, InvalidInput.
        """
        parsed = parse(reference)
        present = await self._look(parsed, reference)
        if present and (self._policy != "always" or parsed.digest):
            return present
        if self._policy == "never":
            raise _never(parsed)
        try:
            await self._pull(parsed, progress)
        except ImageUnavailable as error:
            # A replica that ends while the registry is away should come back all the same.
            if present is None or error.cause not in ("unreachable", "limit"):
                raise
            _log.warning("%s; the image that is present is used", error)
            return present
        pulled = await self._look(parsed, reference)
        if pulled is None:
            raise ImageUnavailable(
                f"image {parsed} was removed from the engine while it was pulled; try again", "other"
            )
        return pulled

    async def facts(self, reference: str) -> ImageFacts | None:
        """Of an image that is present, else None. Raises ProviderUnavailable, EngineRefused, InvalidInput."""
        return await self._look(parse(reference), reference)

    async def auth_for(self, reference: str) -> str:
        """X-Registry-Auth for the registry of an image; empty when nothing is known for it. Raises InvalidInput."""
        return (await self._credentials.find(parse(reference).registry)).header

    # Looking

    async def _look(self, parsed: Reference, reference: str) -> ImageFacts | None:
        try:
            document: dict[str, Any] = await self._engine.get(f"/images/{parsed.exact}/json")
        except EngineRefused as error:
            if error.code == _NOT_THERE:
                return None
            raise
        return facts_of(reference, document)

    # Pulling

    async def _pull(self, parsed: Reference, progress: Tell) -> None:
        """Wait for the pull of this image, which begins when nobody else has begun it."""
        pull = self._pulls.get(parsed.exact)
        if pull is None:
            pull = self._pulls[parsed.exact] = _Pull(lambda pull: self._run(pull, parsed))
        pull.listeners.append(progress)
        if pull.words:
            progress(pull.words)
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.listeners.remove(progress)
            if not pull.listeners:
                self._forget(parsed, pull)
                pull.task.cancel()
                await asyncio.wait([pull.task])

    def _forget(self, parsed: Reference, pull: _Pull) -> None:
        """Whoever comes from now on begins anew."""
        if self._pulls.get(parsed.exact) is pull:
            del self._pulls[parsed.exact]

    async def _run(self, pull: _Pull, parsed: Reference) -> None:
        try:
            login = await self._credentials.find(parsed.registry)
            try:
                await self._transfer(pull, parsed, login)
            except EngineRefused as error:
                raise await self._refused(parsed, str(error), login) from error
        finally:
            self._forget(parsed, pull)

    async def _transfer(self, pull: _Pull, parsed: Reference, login: Login) -> None:
        """The pull itself. The engine ends it when we hang up."""
        progress = Progress(str(parsed))
        reporting = asyncio.create_task(self._report(pull, progress))
        stream = self._engine.documents(
            "/images/create", "POST", auth=login.header, fromImage=parsed.name, tag=parsed.version
        )
        try:
            async with aclosing(stream), asyncio.timeout(self._silence) as limit:
                async for document in stream:
                    limit.reschedule(asyncio.get_running_loop().time() + self._silence)
                    if error := document.get("error"):
                        raise EngineRefused(500, str(error))
                    progress.take(document)
        except TimeoutError as error:
            raise EngineRefused(504, f"i/o timeout: no progress for {self._silence:g} s") from error
        finally:
            reporting.cancel()

    async def _report(self, pull: _Pull, progress: Progress) -> None:
        """Tell now and then how far it is, also while the engine says nothing."""
        while True:
            pull.tell(progress.words())
            await self._clock.sleep(STEP)

    async def _refused(self, parsed: Reference, message: str, login: Login) -> ImageUnavailable:
        version = await self._engine.get("/version")
        machine = f"{version.get('Os', 'linux')}/{version.get('Arch', 'unknown')}"
        refusal = refusal_of(parsed, message, login, machine)
        return ImageUnavailable(refusal.text, refusal.cause)


def _never(parsed: Reference) -> ImageUnavailable:
    return ImageUnavailable(
        f"image {parsed} is not on the engine, and it is told to pull nothing (--pull never); bring it there (docker pull "
        f"{parsed}, docker load), or pull what is missing (--pull missing)",
        "missing",
    )
