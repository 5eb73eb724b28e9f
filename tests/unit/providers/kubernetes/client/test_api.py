"""What is asked of an API server, and what becomes of its answers, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import (
    ApiConflict,
    ApiForbidden,
    ApiGone,
    ApiInvalid,
    ApiNotFound,
    ApiRefused,
    ApiUnavailable,
)
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, FUNCTION, NAMESPACE, POD, SECRET
from tests.unit.providers.kubernetes.client.scripted_api import (
    VERSION,
    ScriptedApi,
    kept,
    opened,
    pieces,
    refused,
    said,
    serving,
)

POD_A = msgspec.json.encode(kept("a"))
OBJECT = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[ScriptedApi, Api]]:
    async with opened(tmp_path) as there:
        yield there


Server = tuple[ScriptedApi, Api]


async def test_the_credentials_of_the_kubeconfig_are_used(server: Server) -> None:
    script, _ = server
    assert script.headers[0]["Authorization"] == "Bearer secret-token"


async def test_objects_are_where_their_kind_says(server: Server) -> None:
    script, api = server
    script.answers = [said(kept())]
    await api.get(SECRET, "s", "n")
    await api.get(NAMESPACE, "n")
    await api.get(FUNCTION, "f", "n")
    await api.create(SECRET, OBJECT)
    await api.replace(SECRET, OBJECT)
    await api.delete(SECRET, "s", "n", uid="u")
    await api.scale("d", "n", 3)
    assert [(method, path) for method, path, _, _ in script.asked] == [
        ("GET", "/api/v1/namespaces/n/secrets/s"),
        ("GET", "/api/v1/namespaces/n"),
        ("GET", "/apis/openfaas.com/v1/namespaces/n/functions/f"),
        ("POST", "/api/v1/namespaces/n/secrets"),
        ("PUT", "/api/v1/namespaces/n/secrets/s"),
        ("DELETE", "/api/v1/namespaces/n/secrets/s"),
        ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale"),
    ]
    assert script.asked[5][3]["preconditions"] == {"uid": "u"}
    assert script.asked[6][3] == {"spec": {"replicas": 3}}


@pytest.mark.parametrize("name", ("../x", "a/b", "a?watch=true", "a#b", "a%2fb"))
async def test_a_name_stays_one_part_of_a_path(server: Server, name: str) -> None:
    script, api = server
    seen: list[str] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.json_response(kept())

    script.answers = [keep]
    await api.get(SECRET, name, "n")
    assert len(seen[0].split("/")) == 7 and "?" not in seen[0]


async def test_what_is_applied_is_ours(server: Server) -> None:
    script, api = server
    script.answers = [said(kept())]
    await api.apply(SECRET, OBJECT)
    method, _, query, body = script.asked[0]
    assert (method, query, body) == ("PATCH", {"fieldManager": "penstock", "force": "true"}, OBJECT)
    assert script.headers[-1]["Content-Type"] == "application/apply-patch+yaml"


async def test_a_status_is_merged_into_its_subresource(server: Server) -> None:
    script, api = server
    script.answers = [said(kept())]
    await api.merge(FUNCTION, "f", "n", {"status": {}}, "status")
    assert script.asked[0][1].endswith("/functions/f/status")
    assert script.headers[-1]["Content-Type"] == "application/merge-patch+json"


async def test_a_list_is_read_page_by_page(server: Server) -> None:
    script, api = server
    script.answers = [
        said({"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [kept("a")]}),
        said({"metadata": {"resourceVersion": "7"}, "items": [kept("b")]}),
    ]
    listing = await api.list(POD, "n", {"a": "b", "c": "d"})
    assert ([item["metadata"]["name"] for item in listing.items], listing.version) == (["a", "b"], "7")
    assert listing.items[0]["kind"] == "Pod" and listing.items[0]["apiVersion"] == "v1"
    assert script.asked[0][2] == {"labelSelector": "a=b,c=d", "limit": "500"}
    assert script.asked[1][2]["continue"] == "next"


async def test_opening_says_the_version_and_that_somebody_else_is_no_api_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as (script, api):
        script.answers = [said({"status": "ok"})]
        with pytest.raises(ApiUnavailable, match="gitVersion"):
            await api.open()
        script.answers = [said(VERSION)]
        assert await api.open() == "v1.30.1"


async def test_a_list_whose_pages_never_end_is_given_up(server: Server) -> None:
    script, api = server
    script.answers = [said({"metadata": {"continue": "again"}, "items": []})]
    with pytest.raises(ApiUnavailable, match="one page again and again for list Pod"):
        await api.list(POD, "n")


async def test_a_list_may_not_grow_without_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    script, api = server
    monkeypatch.setattr("penstock.providers.kubernetes.client.api.MAX_LIST", 1000)
    script.answers = [said({"metadata": {"continue": str(number)}, "items": [kept("a")]}) for number in range(50)]
    with pytest.raises(ApiUnavailable, match="answers list Pod with more than 1,000 bytes"):
        await api.list(POD, "n")
    assert len(script.asked) < 50


async def test_one_object_is_looked_at_to_see_whether_all_may_be(server: Server) -> None:
    script, api = server
    script.answers = [said({"items": [kept("a")], "metadata": {"continue": "more"}})]
    await api.look(POD, "n")
    assert [asked[1:3] for asked in script.asked] == [("/api/v1/namespaces/n/pods", {"limit": "1"})]
    script.answers = [refused(403, 'User "x" cannot list resource "pods" in API group ""')]
    with pytest.raises(ApiForbidden, match="verb list on pods in namespace n"):
        await api.look(POD, "n")


async def test_a_list_of_the_whole_cluster_names_no_namespace(server: Server) -> None:
    script, api = server
    script.answers = [said({"metadata": {}, "items": None})]
    assert (await api.list(DEPLOYMENT)).items == []
    assert script.asked[0][1] == "/apis/apps/v1/deployments"


@pytest.mark.parametrize(
    ("status", "kind"),
    ((400, ApiInvalid), (404, ApiNotFound), (409, ApiConflict), (410, ApiGone), (422, ApiInvalid), (413, ApiRefused)),
)
async def test_refusals_keep_the_servers_words(server: Server, status: int, kind: type[ApiRefused]) -> None:
    script, api = server
    script.answers = [refused(status, "the words\x1b[31m", "Why")]
    with pytest.raises(kind, match="the words") as caught:
        await api.get(SECRET, "s", "n")
    assert (caught.value.code, caught.value.reason, "\x1b" in str(caught.value)) == (status, "Why", False)
    assert len(script.asked) == 1


async def test_what_kubernetes_does_not_take_is_the_callers_fault(server: Server) -> None:
    script, api = server
    script.answers = [refused(422, "metadata.name: Invalid value")]
    with pytest.raises(InvalidInput) as caught:
        await api.apply(SECRET, OBJECT)
    assert caught.value.status == 400


@pytest.mark.parametrize(("namespace", "where"), (("n", "in namespace n"), (None, "in the whole cluster")))
async def test_a_missing_right_is_named(server: Server, namespace: str | None, where: str) -> None:
    script, api = server
    script.answers = [refused(403, "deployments.apps is forbidden")]
    with pytest.raises(ApiForbidden, match=f"verb list on deployments.apps {where}"):
        await api.list(DEPLOYMENT, namespace)


async def test_a_missing_right_on_a_part_of_an_object_is_named(server: Server) -> None:
    script, api = server
    script.answers = [refused(403, 'User "x" cannot patch resource "deployments/scale" in API group "apps"')]
    with pytest.raises(ApiForbidden, match=r"verb patch on deployments/scale\.apps in namespace n"):
        await api.scale("d", "n", 1)


async def test_a_watch_gives_events_as_they_come(server: Server) -> None:
    script, api = server
    stay = asyncio.Event()
    script.answers = [
        pieces(
            b'{"type":"ADDED","object":' + POD_A + b'}\n{"type":"MODI',
            b'FIED","object":' + POD_A + b"}\n",
            b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}\n',
            stay=stay,
        )
    ]
    async with aclosing(api.watch(POD, "n", {"a": "b"}, "5")) as events:
        seen = [await anext(events) for _ in range(3)]
        assert [event.type for event in seen] == ["ADDED", "MODIFIED", "BOOKMARK"]
        stay.set()
        assert [event async for event in events] == []
    query = script.asked[0][2]
    assert (query["watch"], query["resourceVersion"], query["allowWatchBookmarks"]) == ("true", "5", "true")
    assert int(query["timeoutSeconds"]) > 0


@pytest.mark.parametrize("how", ("status", "event"))
async def test_a_watch_from_too_long_ago_says_so(server: Server, how: str) -> None:
    script, api = server
    event = b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}\n'
    script.answers = [refused(410, "too old")] if how == "status" else [pieces(event)]
    with pytest.raises(ApiGone, match="too old"):
        await anext(api.watch(POD, "n", "", "1"))


@pytest.mark.parametrize(
    "line",
    (
        b"no json\n",
        b"[]\n",
        b"null\n",
        b'{"type":1,"object":{}}\n',
        b'{"type":"ADDED"}\n',
        b"\xff\xfe\n",
        b'{"type":"ADDED","object":{"metadata":null}}\n',
        b'{"type":"MODIFIED","object":{"metadata":{"name":"a","uid":"u","resourceVersion":"1","labels":[]},"spec":{}}}\n',
        b'{"type":"BOOKMARK","object":{"metadata":[]}}\n',
        b'{"type":"ERROR","object":{"code":"410"}}\n',
        b'{"type":"ERROR","object":{"kind":"Status","code":"410"}}\n',
        b'{"type":"ADDED","object":{"metadata":{"na',
    ),
)
async def test_a_watch_of_something_else_is_unavailable(server: Server, line: bytes) -> None:
    script, api = server
    script.answers = [pieces(line)]
    with pytest.raises((ApiUnavailable, ApiRefused)):
        await anext(api.watch(POD, "n", "", "1"))


async def test_logs_are_lines_with_their_times(server: Server) -> None:
    script, api = server
    script.answers = [
        pieces(b"2026-01-01T00:00:00.1Z one\n2026-01-01T00:00:01Z tw", b"o\n", b"2026-01-01T00:00:02Z end")
    ]
    lines = [line async for line in api.log_lines("p", "n", "function", tail=5, since="2026-01-01T00:00:00Z")]
    assert lines == [b"2026-01-01T00:00:00.1Z one", b"2026-01-01T00:00:01Z two", b"2026-01-01T00:00:02Z end"]
    _, path, query, _ = script.asked[0]
    assert path == "/api/v1/namespaces/n/pods/p/log"
    assert query == {
        "container": "function",
        "timestamps": "true",
        "follow": "false",
        "tailLines": "5",
        "sinceTime": "2026-01-01T00:00:00Z",
    }


async def test_nothing_is_asked_before_it_is_open(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, api):
        with pytest.raises(ProviderUnavailable, match="not connected"):
            await api.get(SECRET, "s", "n")


async def test_there_can_be_as_many_watches_as_namespaces(server: Server) -> None:
    script, api = server
    stay = asyncio.Event()
    event = b'{"type":"ADDED","object":' + POD_A + b"}\n"
    script.answers = [pieces(event, stay=stay)]
    watches = [api.watch(POD, f"n{number}", "", "1") for number in range(150)]
    assert len(await asyncio.gather(*(anext(watch) for watch in watches))) == 150
    script.answers = [said(kept())]
    assert await api.get(SECRET, "s", "n") == kept()
    stay.set()
    for watch in watches:
        await watch.aclose()
