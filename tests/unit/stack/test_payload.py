"""What wins over what, and the body that goes to a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.stack.load import read_stack
from penstock.stack.model import StackFunction
from penstock.stack.payload import (
    Base,
    Overrides,
    body,
    handler_reference,
    is_runnable,
    pipeline_specification,
    specification,
    with_tag,
)


def function(keys: str) -> StackFunction:
    return read_stack(f"functions: {{f: {{{keys}}}}}", "s.yml", None, Path()).functions[0]


def test_flags_win_over_the_file_and_the_file_over_what_a_build_brings() -> None:
    written = function(
        "fprocess: own, environment: {A: file, B: file}, labels: {l: file, m: file}, annotations: {a: file}"
    )
    over = Overrides(environment={"B": "flag"}, labels={"m": "flag"}, annotations={"a": "flag"}, namespace="flag")
    base = Base(image="", fprocess="built", environment={"A": "built", "C": "built"})
    spec = specification(written, over, base)
    assert spec.env_vars == {"A": "file", "B": "flag", "C": "built"}
    assert (spec.labels, spec.annotations) == ({"l": "file", "m": "flag"}, {"a": "flag"})
    assert (spec.env_process, spec.image, spec.namespace) == ("own", "", "flag")
    assert specification(function("lang: x, handler: y"), base=base).env_process == "built"


def test_secrets_of_flags_come_first_and_none_twice() -> None:
    assert specification(function("secrets: [a, b]"), Overrides(secrets=("c", "a"))).secrets == ("c", "a", "b")


def test_constraints_of_the_file_make_those_of_flags_void_even_when_there_are_none() -> None:
    over = Overrides(constraints=("zone=a",))
    assert specification(function("image: x"), over).constraints == ("zone=a",)
    assert specification(function("image: x, constraints: [b=c]"), over).constraints == ("b=c",)
    assert specification(function("image: x, constraints: []"), over).constraints == ()


def test_read_only_can_only_be_turned_on_and_quantities_are_laid_over_one_by_one() -> None:
    written = function("image: x, readonly_root_filesystem: true, limits: {memory: 1Gi, cpu: 1}")
    spec = specification(written, Overrides(limits=Resources(cpu="2")))
    assert spec.read_only_root and spec.limits == Resources(memory="1Gi", cpu="2")
    assert specification(function("image: x"), Overrides(read_only_root=True)).read_only_root


@pytest.mark.parametrize(
    ("image", "tagged"),
    [("", ""), ("a", "a:latest"), ("a:1", "a:1"), ("r:5000/a", "r:5000/a:latest"), ("r/a@sha256:0", "r/a@sha256:0")],
)
def test_an_image_without_a_tag_is_the_latest(image: str, tagged: str) -> None:
    assert with_tag(image) == tagged


def test_a_handler_alone_is_python_code_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "h.py").touch()
    spec = specification(function("handler: ./h.py"), directory=tmp_path)
    assert spec.env_vars == {"mode": "python", "handler": str(tmp_path / "h.py")}
    asgi = specification(function("handler: 'h.py:app', environment: {mode: asgi}"), directory=tmp_path)
    assert asgi.env_vars == {"mode": "asgi", "handler": f"{tmp_path}/h.py:app"}
    with pytest.raises(InvalidInput, match=r"s\.yml:1: handler: there is no file or folder 'no\.py'"):
        specification(function("handler: no.py"), directory=tmp_path)
    assert not specification(function("handler: no.py, lang: python3-http"), directory=tmp_path).env_vars


def test_a_reference_that_is_no_path_stays_as_it_is(tmp_path: Path) -> None:
    assert handler_reference("shop:app", "--handler") == "shop:app"
    for path in ("./x", "~/x", "x.py", "x.py:app"):
        with pytest.raises(InvalidInput, match=r"^--handler: there is no file or folder"):
            handler_reference(path, "--handler", tmp_path)


def test_only_labels_and_annotations_are_there_when_empty() -> None:
    assert body(FunctionSpec(name="f", namespace="")) == {"service": "f", "labels": {}, "annotations": {}}


def test_every_field_of_the_body() -> None:
    spec = FunctionSpec(
        name="f", namespace="n", image="i", env_process="p", env_vars={"A": ""}, constraints=("c",), secrets=("s",),
        limits=Resources(memory="1"), requests=Resources(cpu="2"), read_only_root=True,
    )  # fmt: skip
    assert body(spec) == {
        "service": "f", "namespace": "n", "image": "i", "envProcess": "p", "envVars": {"A": ""}, "constraints": ["c"],
        "secrets": ["s"], "limits": {"memory": "1"}, "requests": {"cpu": "2"}, "readOnlyRootFilesystem": True,
        "labels": {}, "annotations": {},
    }  # fmt: skip
    with pytest.raises(InvalidInput):
        body(FunctionSpec(name="F"))


@pytest.mark.parametrize(
    ("keys", "runnable"),
    [
        ("image: x", True),
        ("fprocess: cat", True),
        ("environment: {fprocess: cat}", True),
        ("environment: {function_process: cat}", True),
        ("environment: {mode: static}", True),
        ("environment: {mode: http}", False),
        ("labels: {a: b}", False),
    ],
)
def test_what_can_be_run(keys: str, runnable: bool) -> None:
    assert is_runnable(specification(function(keys))) is runnable


def test_a_pipeline_takes_only_namespace_labels_and_annotations_of_what_is_laid_over_it() -> None:
    text = "pipelines: {p: {stages: a | b/c?d=e, namespace: file, labels: {l: file, m: file}, annotations: {a: file}}}"
    [written] = read_stack(text, "s.yml", None, Path()).pipelines
    over = Overrides(
        environment={"B": "flag"}, secrets=("s",), limits=Resources(cpu="1"), read_only_root=True, labels={"m": "flag"}
    )
    spec = pipeline_specification(written, over)
    assert spec == FunctionSpec(
        name="p",
        namespace="file",
        stages=("a", "b/c?d=e"),
        labels={"l": "file", "m": "flag"},
        annotations={"a": "file"},
    )
    assert pipeline_specification(written, Overrides(namespace="flag")).namespace == "flag"
    assert is_runnable(spec)
    assert body(spec) == {
        "service": "p",
        "namespace": "file",
        "pipeline": ["a", "b/c?d=e"],
        "labels": {"l": "file", "m": "flag"},
        "annotations": {"a": "file"},
    }
