"""Stack files: every key, what wins over what, and what is said of files that are wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidInput, NotFound, PenstockError, TooLarge
from penstock.model import Resources
from penstock.stack import fetch
from penstock.stack.load import load_stack, read_stack
from penstock.stack.model import Position, Stack, StackPipeline, TemplateSource

FULL = """\
version: 1.0
provider:
  name: openfaas
  gateway: https://faas.example.com
functions:
  api:
    lang: python3-http@1.2
    handler: ./api
    image: ${PREFIX:-acme}/api
    fprocess: python index.py
    environment: {A: true, B: 1.50, C: 010, D: ~}
    secrets: [token, key.pem]
    labels: {com.openfaas.scale.min: 2}
    annotations: {topic: a}
    constraints: ["node.role == worker"]
    limits: {memory: 128Mi, cpu: 500m}
    requests: {memory: 64Mi}
    readonly_root_filesystem: true
    skip_build: yes
    build_options: [dev]
    build_args: {X: 1}
    build_secrets: {pip: ./pip.conf}
    namespace: staging
    platforms: linux/arm64
  plain:
    image: nginx
configuration:
  copy: [./common]
  templates:
    - name: mine
      source: https://example.com/t.git#v1
    - name: other
"""


def read(text: str, directory: Path = Path("/srv")) -> Stack:
    return read_stack(text, "stack.yml", {}, directory)


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    return str(caught.value).splitlines()


def test_every_key_is_read() -> None:
    stack = read(FULL)
    api, plain = stack.functions
    assert (api.name, str(api.where), api.lang, api.handler) == ("api", "stack.yml:6", "python3-http@1.2", "./api")
    assert (api.image, api.fprocess, api.namespace, api.platforms) == (
        "acme/api",
        "python index.py",
        "staging",
        "linux/arm64",
    )
    assert api.environment == {"A": "true", "B": "1.50", "C": "010", "D": ""}
    assert (api.secrets, api.labels, api.annotations) == (
        ("token", "key.pem"),
        {"com.openfaas.scale.min": "2"},
        {"topic": "a"},
    )
    assert api.constraints == ("node.role == worker",)
    assert (api.limits, api.requests) == (Resources(memory="128Mi", cpu="500m"), Resources(memory="64Mi"))
    assert (api.read_only_root, api.skip_build, api.build_options, api.build_args) == (True, True, ("dev",), {"X": "1"})
    assert api.build_secrets == {"pip": Path("/srv/pip.conf")}
    assert plain.constraints is None and not plain.read_only_root
    assert stack.gateway == "https://faas.example.com" and stack.copy == ("./common",)
    assert stack.templates == (TemplateSource("mine", "https://example.com/t.git#v1"), TemplateSource("other"))
    assert stack.warnings == ()


def test_variables_are_replaced_unless_that_is_turned_off(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text("functions: {a: {image: '${IMG}'}}")
    assert load_stack("s.yml", {"IMG": "x"}, directory=tmp_path).functions[0].image == "x"
    assert load_stack("s.yml", {"IMG": "x"}, substitute=False, directory=tmp_path).functions[0].image == "${IMG}"


def test_default_files_in_their_order(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"stack.yaml or stack.yml"):
        load_stack(None, {}, directory=tmp_path)
    (tmp_path / "stack.yml").write_text("functions: {a: {image: x}}")
    assert load_stack(None, {}, directory=tmp_path).file == "stack.yml"
    (tmp_path / "stack.yaml").write_text("functions: {b: {image: x}}")
    assert load_stack(None, {}, directory=tmp_path).file == "stack.yaml"


def test_environment_files_win_over_environment_the_later_ones_first(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("environment:\n  A: one\n  B: one ${HOME}\n")
    (tmp_path / "two.yml").write_text("environment:\n  B: two\nsecrets: 1\n")
    text = "functions:\n  f:\n    image: x\n    environment: {A: own, B: own, C: own}\n    environment_file: [one.yml, two.yml]\n"
    stack = read(text, tmp_path)
    assert stack.functions[0].environment == {"A": "one", "B": "two", "C": "own"}
    assert stack.warnings == (
        "two.yml:3: an environment file has no key 'secrets', it is ignored; there are environment",
    )
    (tmp_path / "two.yml").unlink()
    assert read(text.replace(", two.yml", ""), tmp_path).functions[0].environment["B"] == "one ${HOME}"


def test_unknown_keys_are_warnings_with_the_nearest_known_one() -> None:
    stack = read("functions:\n  f:\n    image: x\n    enviroment: {A: 1}\n    limits: {gpu: 1}\nextends: y\n")
    first, second, third = sorted(stack.warnings)
    assert first == "stack.yml:4: function 'f' has no key 'enviroment', it is ignored; did you mean 'environment'?"
    assert second == "stack.yml:5: limits has no key 'gpu', it is ignored; there are memory, cpu"
    assert third.startswith("stack.yml:6: a stack file has no key 'extends'")


def test_of_very_many_faults_and_warnings_the_first_are_told() -> None:
    stack = read("".join(f"k{number}: 1\n" for number in range(100)))
    assert len(stack.warnings) == 21 and stack.warnings[-1] == "and 80 more"
    found = faults("functions:\n" + "".join(f"  F{number}: {{image: x}}\n" for number in range(100)))
    assert len(found) == 21 and found[-1] == "and 80 more"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("functions: [a]", ["stack.yml:1: functions must be a mapping of `key: value` lines, not a list"]),
        ("- a", ["stack.yml:1: a stack file must be a mapping of `key: value` lines, not a list"]),
        ("version: 2.0", ["stack.yml:1: version must be 1.0 or absent, not '2.0'"]),
        ("provider:\n  name: faas", ["stack.yml:2: provider.name must be openfaas, not 'faas'"]),
        ("functions:\n  f:", ["stack.yml:2: function 'f' says nothing: it needs `lang` and `handler`, `image` or `fprocess`"]),
        (
            "functions:\n  f:\n    image: [x]\n    environment: [A=1]\n    secrets: s\n    skip_build: maybe\n",
            [
                "stack.yml:3: image must be one value, not a list",
                "stack.yml:4: environment must be a mapping of `key: value` lines, not a list",
                "stack.yml:5: secrets must be a list of `- value` lines, not 's'",
                "stack.yml:6: skip_build must be true or false, not 'maybe'",
            ],
        ),
        ("functions:\n  f:\n    environment_file: env.yml\n", ["environment_file must be a list"]),
        ("functions:\n  f:\n    environment_file: [no.yml]\n", ["stack.yml:3: environment_file: no.yml: there is no such file"]),
        ("functions:\n  f:\n    build_args: [A=1]\n", ["stack.yml:3: build_args must be a mapping"]),
        ("functions:\n  f:\n    environment: {A: {B: 1}}\n", ["stack.yml:3: environment: 'A' must be one value, not a mapping"]),
        ("functions:\n  f:\n    environment: {A=B: 1}\n", ["'A=B'"]),
        ("functions:\n  F_1: {image: x}\n", ["stack.yml:2: 'F_1' cannot name a function"]),
        ("functions:\n  ../x: {image: x}\n", ["stack.yml:2: '../x' cannot name a function"]),
        ("functions:\n  f: {image: x, namespace: A}\n", ["stack.yml:2: namespace"]),
        ("functions:\n  f: {image: x, secrets: [../x]}\n", ["stack.yml:2: secret"]),
        ("functions:\n  f: {image: x}\n  f: {image: y}\n", ["stack.yml:3: 'f' is there twice, first on line 2"]),
        ("configuration: {templates: [{source: x}]}\n", ["needs a `name`"]),
        ("configuration: {templates: x}\n", ["configuration.templates must be a list"]),
        ("", ["stack.yml: is empty"]),
        ("# nothing\n", ["stack.yml: is empty"]),
    ],
    ids=range(20),
)  # fmt: skip
def test_faults_have_their_line_and_say_what_was_expected(text: str, expected: list[str]) -> None:
    found = faults(text)
    assert len(found) == len(expected)
    for line, words in zip(found, expected, strict=True):
        assert words in line


def test_lines_count_from_the_file_and_not_from_what_variables_made_of_it() -> None:
    text = "functions:\n  f:\n    image: x\n    annotations: {pem: '${PEM}'}\n    skip_build: maybe\n"
    with pytest.raises(InvalidInput, match=r"^s\.yml:5: skip_build"):
        read_stack(text, "s.yml", {"PEM": "a\n b\n c"}, Path())


def test_a_folder_a_missing_and_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="is a folder"):
        load_stack(".", {}, directory=tmp_path)
    with pytest.raises(NotFound, match=r"no\.yml: there is no such file"):
        load_stack("no.yml", {}, directory=tmp_path)
    with pytest.raises(PenstockError):
        load_stack("a\x00b", {}, directory=tmp_path)
    monkeypatch.setattr("penstock.stack.document.MAX_BYTES", 100)
    monkeypatch.setattr(fetch, "MAX_BYTES", 100)
    (tmp_path / "s.yml").write_text("#" * 200)
    with pytest.raises(TooLarge):
        load_stack("s.yml", {}, directory=tmp_path)


class _Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/stack.yml")
            self.end_headers()
            return
        if self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        found = self.path == "/stack.yml"
        body = b"functions: {web: {image: x}}" if found else b"functions: {wrong: {image: x}}"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_read_through_redirects(web: str) -> None:
    for path in ("/stack.yml", "/moved"):
        assert load_stack(web + path, {}).functions[0].name == "web"


@pytest.mark.parametrize(("path", "words"), [("/nothing", "answered 404"), ("/file", "302|file")])
def test_what_a_url_answers_but_a_file_is_an_error(web: str, path: str, words: str) -> None:
    with pytest.raises(PenstockError, match=words):
        load_stack(web + path, {})


def test_a_download_that_takes_too_long_or_is_too_large_is_given_up(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(fetch, "MAX_SECONDS", -1.0)
        with pytest.raises(PenstockError, match="took longer than"):
            load_stack(f"{web}/stack.yml", {})
    monkeypatch.setattr(fetch, "MAX_BYTES", 4)
    monkeypatch.setattr("penstock.stack.document.MAX_BYTES", 4)
    with pytest.raises(TooLarge):
        load_stack(f"{web}/stack.yml", {})


def test_no_server_behind_a_url() -> None:
    with pytest.raises(PenstockError, match="cannot be read"):
        load_stack("http://127.0.0.1:1/stack.yml", {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="ab ${}:-_/.\n", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="ab-", max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["lang", "handler", "image", "environment", "secrets", "labels", "constraints", "limits", "skip_build", "x"]
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "version": VALUES,
        "provider": VALUES | st.fixed_dictionaries({"name": VALUES, "gateway": VALUES}),
        "functions": VALUES
        | st.dictionaries(st.sampled_from(["f", "g-1", "H"]), VALUES | st.dictionaries(KEYS, VALUES)),
        "configuration": VALUES | st.fixed_dictionaries({"templates": VALUES, "copy": VALUES}),
    },
)


@settings(max_examples=50)
@given(FILES)
def test_any_shape_of_file_is_read_or_refused_with_its_name(shape: dict[str, object]) -> None:
    import yaml

    try:
        stack = read_stack(yaml.safe_dump(shape), "s.yml", {}, Path("/nonexistent"))
    except InvalidInput as error:
        assert all(line.startswith(("s.yml", "and ")) for line in str(error).splitlines() if not line.startswith(" "))
    else:
        assert all(function.name for function in stack.functions)


def test_no_value_holds_a_nul() -> None:
    text = (
        'functions:\n  a:\n    fprocess: "cat\\0x"\n    secrets: ["s\\0"]\n    labels:\n      one: "l\\0"\n'
        '    environment:\n      A: "b\\0"\n'
    )
    with pytest.raises(InvalidInput) as caught:
        read_stack(text, "s.yml", None, Path())
    said = str(caught.value)
    assert "s.yml:3: fprocess holds the character NUL" in said
    assert "s.yml:4: secrets holds the character NUL" in said
    assert "s.yml:6: labels: 'one' holds the character NUL" in said
    assert "s.yml:8: environment: 'A' holds the character NUL" in said


def test_a_function_knows_where_its_template_is_named() -> None:
    stack = read_stack(
        "functions:\n  a:\n    handler: ./a\n    lang: go\n  b: {fprocess: cat}\n", "s.yml", None, Path()
    )
    assert [str(function.lang_where) for function in stack.functions] == ["s.yml:4", "s.yml:5"]


PIPELINES = """\
functions:
  sort:
    fprocess: sort
pipelines:
  listed:
    stages:
      - sort/a?b=c
      - uniq.other
    namespace: staging
    labels: {com.penstock.timeout: 5s}
    annotations: {note: true}
  line:
    stages: sort | uniq?count=1 | wc
"""


def test_pipelines_are_read_as_lists_and_as_lines() -> None:
    listed, line = read(PIPELINES).pipelines
    assert listed == StackPipeline(
        name="listed",
        where=Position("stack.yml", 5),
        stages=("sort/a?b=c", "uniq.other"),
        namespace="staging",
        labels={"com.penstock.timeout": "5s"},
        annotations={"note": "true"},
    )
    assert (line.name, line.stages, line.namespace) == ("line", ("sort", "uniq?count=1", "wc"), "")


def test_a_file_may_have_pipelines_only() -> None:
    stack = read("pipelines: {p: {stages: [a]}}")
    assert (stack.functions, [pipeline.stages for pipeline in stack.pipelines], stack.warnings) == ((), [("a",)], ())


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("p: {}", "stack.yml:2: pipeline 'p' needs `stages`, such as [sort, uniq] or sort | uniq"),
        ("p: {stages: []}", "stack.yml:2: stages: there is none"),
        ("p: {stages: {a: b}}", "stack.yml:2: stages must be a list of `- value` lines, not a mapping"),
        ("p: {stages: [[a]]}", "stack.yml:2: stages must be a list of single values, not of lists"),
        ("p: {stages: a | }", "stack.yml:2: pipeline: stage 2 of 'a |' is empty; write NAME | NAME"),
        ("p: {stages: a, namespace: ../x}", "stack.yml:2: namespace: ('../x') is invalid"),
        ("p: [a, b]", "stack.yml:2: pipeline 'p' must be a mapping of `key: value` lines, not a list"),
        ("P: {stages: a}", "stack.yml:2: 'P' cannot name a pipeline: lower-case letters"),
        ("p: {stages: a, labels: [x]}", "stack.yml:2: labels must be a mapping"),
    ],
)
def test_a_pipeline_that_is_wrong_is_told_with_its_line(entry: str, fault: str) -> None:
    assert faults(f"pipelines:\n  {entry}\n")[0].startswith(fault)


def test_each_stage_that_is_wrong_is_told_with_its_line() -> None:
    first, second = faults("pipelines:\n  p:\n    stages:\n      - sort\n      - wc -l\n      - a/ü\n")
    assert first.startswith("stack.yml:5: pipeline: stage 'wc -l' does not begin with the name of a function")
    assert second.startswith("stack.yml:6: pipeline: stage 'a/ü': path and query may hold visible ASCII")


def test_a_name_may_not_be_a_function_and_a_pipeline() -> None:
    [fault] = faults("functions:\n  a:\n    image: x\npipelines:\n  a:\n    stages: b\n")
    assert fault == "stack.yml:5: 'a' is the function on line 2 already; name one otherwise"


def test_a_key_that_pipelines_do_not_have_is_a_warning() -> None:
    [warning] = read("pipelines: {p: {stages: a, image: x}}").warnings
    assert "pipeline 'p' has no key 'image', it is ignored" in warning
