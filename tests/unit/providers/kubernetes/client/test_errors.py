"""What an API server says no with, in its own words of several versions, and which of our errors it becomes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.errors import InvalidInput
from penstock.providers.kubernetes.client.errors import (
    ApiConflict,
    ApiForbidden,
    ApiInvalid,
    ApiLeaving,
    ApiNotFound,
    ApiRefused,
    ApiUnavailable,
    refusal,
)

RULE = "verb patch on deployments.apps in namespace n"


def status(code: int, message: str, reason: str = "", **fields: Any) -> bytes:
    return msgspec.json.encode(
        {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code, **fields}
    )


def of(code: int, message: str, reason: str = "", write: bool = True, who: str = "", **fields: Any) -> Any:
    return refusal(code, status(code, message, reason, **fields), "patch Deployment x", RULE, who, write)


@pytest.mark.parametrize(
    "message",
    [
        'deployments.apps "x" is forbidden: User "system:serviceaccount:p:g" cannot patch resource "deployments" in API group "apps" '
        'in the namespace "n"',
        'forbidden: User "system:anonymous" cannot get path "/"',
        'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n": RBAC: clusterrole "a" not found',
    ],
)
def test_a_missing_right_is_one_and_its_rule_is_named(message: str) -> None:
    error = of(403, message, "Forbidden")
    assert type(error) is ApiForbidden and message in str(error) and RULE in str(error)


def test_whoever_only_reads_is_refused_by_nothing_else_than_a_missing_right() -> None:
    assert type(of(403, "no", write=False)) is ApiForbidden


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422, 500])
@pytest.mark.parametrize(
    "words",
    [
        'admission webhook "policy.example.org" denied the request: [must-have-owner] every Deployment needs an owner',
        'admission webhook "validate.kyverno.svc-fail" denied the request without explanation',
        "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'b' denied request: too many",
    ],
)
def test_what_a_policy_denies_is_the_callers_to_change_whatever_its_status(code: int, words: str) -> None:
    error = of(code, words, "Forbidden")
    assert type(error) is ApiInvalid and isinstance(error, InvalidInput)
    assert (error.status, error.blame, error.code) == (400, "client", code)
    assert words in str(error) and "rule" not in str(error).replace(words, "")


@pytest.mark.parametrize(
    "words",
    [
        'deployments.apps "x" is forbidden: exceeded quota: small, requested: count/deployments.apps=1, used: 1, limited: 1',
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged',
        'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
        'serviceaccounts "x" is forbidden: not yet ready to handle request',
    ],
)
def test_what_admission_forbids_is_no_missing_right(words: str) -> None:
    error = of(403, words, "Forbidden")
    assert type(error) is ApiInvalid and error.status == 400 and words in str(error) and RULE not in str(error)


def test_a_namespace_that_is_being_deleted_is_said_to_be() -> None:
    words = (
        'deployments.apps "x" is forbidden: unable to create new content in namespace n because it is being terminated'
    )
    causes = [
        {"reason": "NamespaceTerminating", "message": "namespace n is being terminated", "field": "metadata.namespace"}
    ]
    error = of(403, words, "Forbidden", details={"name": "x", "causes": causes})
    assert type(error) is ApiLeaving and (error.status, error.blame) == (409, "client")
    assert str(error).startswith("the namespace is being deleted") and words in str(error)


@pytest.mark.parametrize(
    "details", [None, [], {"causes": None}, {"causes": {}}, {"causes": [None, 1, {}]}, {"causes": "x"}]
)
def test_details_of_any_form_do_no_harm(details: Any) -> None:
    assert type(of(403, "x is forbidden", details=details)) is ApiInvalid


def test_credentials_that_are_not_known_are_told_with_whose_they_are() -> None:
    error = of(
        401, "Unauthorized", "Unauthorized", who="user 'me' in /k, whose client certificate is over since 2026-01-01"
    )
    assert type(error) is ApiForbidden
    assert "credentials (user 'me' in /k, whose client certificate is over since 2026-01-01): Unauthorized" in str(
        error
    )


@pytest.mark.parametrize(
    ("code", "kind"), [(400, ApiInvalid), (404, ApiNotFound), (409, ApiConflict), (422, ApiInvalid), (500, ApiRefused)]
)
def test_other_answers_go_by_their_status(code: int, kind: type[ApiRefused]) -> None:
    error = of(code, "the words\x1b[31m", "Why")
    assert type(error) is kind and (error.code, error.reason) == (code, "Why")
    assert "patch Deployment x: the words" in str(error) and "\x1b" not in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b'{"message":"\xff"}', b"[1]", b"{}", b'{"message":"no"}', b"[" * 100_000]
)
def test_what_is_no_status_is_nobodys_we_know(body: bytes) -> None:
    assert type(refusal(404, body, "get Secret s", "")) is ApiUnavailable
    assert type(refusal(500, body, "get Secret s", "")) is ApiRefused


@pytest.mark.parametrize("message", [None, 1, [], {"a": 1}])
def test_a_message_of_another_type_is_shown_as_it_came(message: Any) -> None:
    error = refusal(
        422, msgspec.json.encode({"kind": "Status", "message": message, "reason": ["x"]}), "get Secret s", ""
    )
    assert isinstance(error, ApiInvalid) and '"kind":"Status"' in str(error)
