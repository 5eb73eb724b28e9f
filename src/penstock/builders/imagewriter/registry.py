"""Images from and to registries (OCI distribution specification 1.0, Docker Registry HTTP API V2).

Called by `bases` and `builder`. What comes in is checked against its digest before anyone sees it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import msgspec

from penstock.builders.imagewriter.auth import Auth, User
from penstock.builders.imagewriter.image import (
    MANIFEST,
    MANIFEST_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Image,
    config_document,
    descriptor,
    digest_of,
    dump,
    image_of,
    load,
    manifest_document,
    read_manifest,
)
from penstock.builders.imagewriter.interpret import Platform
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.transport import Answer, Lost, Transport, check_url, join, same_host
from penstock.builders.model import Progress
from penstock.core.shown import shown
from penstock.errors import BuildFailed, NotFound, Unauthorized
from penstock.providers.containers.reference import HUB, Reference

ATTEMPTS = 4
"""Of each request that may be sent again."""
PAUSES = (0.2, 1.0, 3.0)
"""Seconds before the later ones."""
MOST_DOCUMENT = 4 << 20
"""Bytes of a manifest or a configuration (the specification asks for 4 MiB)."""
CHECK_SILENCE = 10.0
"""Seconds that a registry gets to answer to a login."""
CHUNK = 32 << 20
"""Bytes that are sent at once."""

_HUB_HOST = "registry-1.docker.io"
_KINDS = ", ".join((MANIFEST, OCI_MANIFEST, MANIFEST_LIST, OCI_INDEX))
_BROKEN = {408, 425, 429, 500, 502, 503, 504}
T = TypeVar("T")


def check_login(registry: str, user: User, environ: Mapping[str, str]) -> bool:
    """Whether a registry asks for a login, and takes this one. Raises Unauthorized, Lost, BuildFailed."""
    client = _Client(Transport(environ, CHECK_SILENCE), environ, {registry: user})
    name = Reference(registry, "", "")
    with client.plainly("GET", name, f"{client.transport.root(_host(registry))}/v2/", {}) as answer:
        asked = answer.status == 401
    with client.ask("GET", name, "/v2/", "") as answer:
        if answer.status != 200:
            raise BuildFailed(f"{registry}: answers {answer.status} at /v2/, as no registry does")
    return asked


class _Client:
    """Requests with the credentials that registries ask for."""

    def __init__(self, transport: Transport, environ: Mapping[str, str], users: Mapping[str, User] = {}) -> None:
        self.transport = transport
        self._auth = Auth(transport, environ, users)

    def headers(self, name: Reference, url: str) -> dict[str, str]:
        """Credentials, where the URL is the registry's own."""
        own = same_host(url, self.transport.root(_host(name.registry)))
        return self._auth.header(name.registry, _scope(name, "pull,push")) if own else {}

    @contextmanager
    def ask(
        self,
        method: str,
        name: Reference,
        path: str,
        rights: str,
        headers: Mapping[str, str] = {},
        body: bytes = b"",
    ) -> Iterator[Answer]:
        """A request with credentials, which are got when they are asked for."""
        url, scope = self.transport.root(_host(name.registry)) + path, _scope(name, rights)
        for last in (False, True):
            sent = {**headers, **self._auth.header(name.registry, scope)}
            with self.plainly(method, name, url, sent, body) as answer:
                if answer.status != 401:
                    yield answer
                    return
                if last:
                    raise self._auth.unauthorized(name.registry)
                self._auth.forget(name.registry, scope)
                self._auth.answer(name.registry, scope, answer)

    @contextmanager
    def plainly(
        self, method: str, name: Reference, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Iterator[Answer]:
        with self.transport.request(method, url, headers, body) as answer:
            if answer.status in _BROKEN:
                raise Lost(f"{name.registry}: answers {answer.status}")
            if answer.status == 403:
                raise self._auth.unauthorized(name.registry)
            yield answer


class Registry:
    """The registries that one builder speaks to."""

    def __init__(self, environ: Mapping[str, str], store: Store, transport: Transport | None = None) -> None:
        self._store = store
        self._client = _Client(transport or Transport(environ), environ)

    def cancel(self) -> None:
        """End all transfers."""
        self._client.transport.cancel()

    def pull(self, name: Reference, platform: Platform, progress: Progress) -> Image:
        """The image for a platform; its blobs are in the store. Raises NotFound, Unauthorized, BuildFailed, NotSupported."""
        document = self._manifest(name, name.version, name.digest)
        if "manifests" in document:
            chosen = _for_platform(document, name, platform)
            document = self._manifest(name, chosen.digest, chosen.digest)
        what = f"the manifest of {name}"
        config, layers = read_manifest(document, what)
        if config.size > MOST_DOCUMENT:
            raise BuildFailed(f"{what} names a configuration of {config.size} bytes")
        for number, blob in enumerate([config, *layers]):
            if not self._store.has(blob.digest, blob.size):
                progress(f"pulling {name}: {number} of {len(layers)} layers are here, next {_mebibytes(blob.size)}")
                _retried(lambda blob=blob: self._fetch(name, blob))  # type: ignore[misc]
            self._store.remember_place(name.registry, blob.digest, name.repository)
        return image_of(load(self._store.read(config.digest), f"the configuration of {name}"), layers, str(name))

    def push(self, name: Reference, image: Image, progress: Progress) -> str:
        """Send an image; the digest of its manifest. A blob that another repository of the registry has is not sent again."""
        config = config_document(image)
        self._store.add(config)
        sent = [(layer.digest, layer.size) for layer in image.layers] + [(digest_of(config), len(config))]
        for number, (digest, size) in enumerate(dict.fromkeys(sent), 1):
            progress(f"pushing {name}: {number} of {len(sent)} blobs, {_mebibytes(size)}")
            if not _retried(lambda digest=digest: self._has(name, digest)):  # type: ignore[misc]
                _retried(lambda d=digest, s=size: self._bring(name, d, s, progress))  # type: ignore[misc]
            self._store.remember_place(name.registry, digest, name.repository)
        manifest = manifest_document(image)
        _retried(lambda: self._put_manifest(name, name.version, manifest, MANIFEST))
        return digest_of(manifest)

    def push_index(self, name: Reference, images: Mapping[Platform, Image], progress: Progress) -> str:
        """Send an image for each platform, and under the name the list of them; its digest."""
        entries = []
        for platform, image in images.items():
            manifest = manifest_document(image)
            digest = self.push(msgspec.structs.replace(name, tag="", digest=digest_of(manifest)), image, progress)
            known = {"architecture": platform.architecture, "os": platform.os}
            known |= {"variant": platform.variant} if platform.variant else {}
            entries.append({"mediaType": MANIFEST, "size": len(manifest), "digest": digest, "platform": known})
        index = dump({"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": entries})
        _retried(lambda: self._put_manifest(name, name.tag, index, MANIFEST_LIST))
        return digest_of(index)

    def _manifest(self, name: Reference, version: str, digest: str) -> dict[str, Any]:
        return _retried(lambda: self._fetch_manifest(name, version, digest))

    def _fetch_manifest(self, name: Reference, version: str, digest: str) -> dict[str, Any]:
        with self._client.ask("GET", name, _path(name, "manifests", version), "pull", {"Accept": _KINDS}) as answer:
            if answer.status == 404:
                raise NotFound(f"{name.registry} has no image {name}")
            _check(answer, name)
            data = answer.read(MOST_DOCUMENT)
        if digest and digest_of(data) != digest:
            raise BuildFailed(f"{name.registry} sends another manifest than {digest} for {name}; it is refused")
        document = load(data, f"the manifest of {name}")
        if document.get("schemaVersion") != 2:
            raise BuildFailed(
                f"the manifest of {name} is of version {str(document.get('schemaVersion'))[:20]!r}, not 2"
            )
        return document

    def _fetch(self, name: Reference, blob: Descriptor) -> None:
        with (
            self._client.ask("GET", name, _path(name, "blobs", blob.digest), "pull") as answer,
            self._store.writing() as (file, path),
        ):
            _check(answer, name)
            total, count = hashlib.sha256(), 0
            for block in answer.blocks():
                count += len(block)
                if count > blob.size:
                    raise BuildFailed(
                        f"{name.registry} sends more than the {blob.size} bytes of {blob.digest}; it is refused"
                    )
                total.update(block)
                file.write(block)
            if f"sha256:{total.hexdigest()}" != blob.digest:
                raise BuildFailed(f"{name.registry} sends something else than {blob.digest} for {name}; it is refused")
            file.flush()
            self._store.keep(path, blob.digest)

    def _has(self, name: Reference, digest: str) -> bool:
        with self._client.ask("HEAD", name, _path(name, "blobs", digest), "pull,push") as answer:
            if answer.status in (200, 404):
                return answer.status == 200
            _check(answer, name)
        return False

    def _bring(self, name: Reference, digest: str, size: int, progress: Progress) -> None:
        """Have a blob taken from another repository of the registry, else send it."""
        source = self._store.place(name.registry, digest)
        place = self._mount(name, digest, source) if source and source != name.repository else self._begin(name)
        if place:
            self._upload(name, place, digest, size, progress)
        else:
            progress(f"pushing {name}: {_mebibytes(size)} are taken from {source}")

    def _mount(self, name: Reference, digest: str, source: str) -> str:
        """Where to send the blob that the registry does not take from there, whether it cannot or we may not; else empty."""
        path = _path(name, "blobs", f"uploads/?mount={quote(digest)}&from={quote(source, safe='')}")
        rights = f"pull,push repository:{source}:pull"
        try:
            with self._client.ask("POST", name, path, rights) as answer:
                if answer.status == 201:
                    return ""
                if answer.status == 202:
                    return _next_place(answer)
        except Unauthorized:
            return self._begin(name)
        return self._begin(name)

    def _begin(self, name: Reference) -> str:
        """Where to send a blob."""
        with self._client.ask("POST", name, _path(name, "blobs", "uploads/"), "pull,push") as answer:
            if answer.status != 202:
                _check(answer, name)
            return _next_place(answer)

    def _upload(self, name: Reference, place: str, digest: str, size: int, progress: Progress) -> None:
        sent = 0
        with open(self._store.blob(digest), "rb") as file:
            while sent < size:
                count = min(CHUNK, size - sent)
                place = self._send(name, place, file, sent, count)
                sent += count
                if size > CHUNK:
                    progress(f"pushing {name}: {_mebibytes(sent)} of {_mebibytes(size)}")
        joint = "&" if "?" in place else "?"
        with self._client.plainly(
            "PUT", name, f"{place}{joint}digest={quote(digest)}", self._client.headers(name, place)
        ) as answer:
            if answer.status not in (201, 204):
                _check(answer, name)

    def _send(self, name: Reference, place: str, file: BinaryIO, start: int, count: int) -> str:
        """A chunk; where the next one goes."""
        headers = {
            **self._client.headers(name, place),
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{start + count - 1}",
        }
        with self._client.plainly("PATCH", name, place, headers, file.read(count)) as answer:
            if answer.status not in (202, 204):
                _check(answer, name)
            return _next_place(answer, place)

    def _put_manifest(self, name: Reference, version: str, manifest: bytes, kind: str) -> None:
        headers = {"Content-Type": kind}
        with self._client.ask("PUT", name, _path(name, "manifests", version), "pull,push", headers, manifest) as answer:
            if answer.status not in (200, 201):
                _check(answer, name)


def _retried(work: Callable[[], T]) -> T:
    for pause in PAUSES[: ATTEMPTS - 1]:
        try:
            return work()
        except Lost:
            time.sleep(pause)
    return work()


def _for_platform(document: dict[str, Any], name: Reference, platform: Platform) -> Descriptor:
    """The first of a list of manifests that fits. Raises NotFound."""
    listed = document["manifests"]
    entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    found = []
    for entry in entries:
        described = entry.get("platform")
        known = described if isinstance(described, dict) else {}
        has = Platform(*(str(known.get(key, ""))[:40] for key in ("os", "architecture", "variant")))
        found.append(shown(str(has)))
        fits = (has.os, has.architecture) == (platform.os, platform.architecture)
        if fits and (not platform.variant or platform.variant == has.variant):
            return descriptor(entry, f"the list of manifests of {name}")
    raise NotFound(f"{name} is not there for {platform}, but for {', '.join(found[:20]) or 'nothing'}")


def _check(answer: Answer, name: Reference) -> None:
    """Raises BuildFailed unless it went well."""
    if answer.status != 200:
        said = shown(answer.read().decode("utf-8", "replace").strip()[:300])
        raise BuildFailed(f"{name.registry}: answers {answer.status} for {name}" + (f": {said}" if said else ""))


def _next_place(answer: Answer, otherwise: str = "") -> str:
    """Where an upload goes on. Raises BuildFailed for nowhere, and for a place that is less safe than the registry."""
    location = answer.header("Location") or otherwise
    place = join(answer.url, location)
    if not location or (check_url(answer.url).scheme == "https" and check_url(place).scheme != "https"):
        raise BuildFailed(f"{answer.url[:200]}: has an upload sent to {location[:200]!r}, which is not as safe")
    return place


def _path(name: Reference, kind: str, last: str) -> str:
    return f"/v2/{name.repository}/{kind}/{last}"


def _scope(name: Reference, rights: str) -> str:
    return f"repository:{name.repository}:{rights}" if name.repository else ""


def _host(registry: str) -> str:
    return _HUB_HOST if registry == HUB else registry


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
