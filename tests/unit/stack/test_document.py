"""YAML as lines and texts, and the YAML that is refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput, TooLarge
from penstock.stack import document
from penstock.stack.document import Document, Mapping, Node, Scalar, Sequence, decode, parse


def plain(node: Node) -> object:
    """Without lines."""
    match node:
        case Scalar():
            return None if node.null else node.text
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def read(text: str) -> Document:
    return parse(text, "f.yml")


def test_scalars_stay_the_text_that_was_written() -> None:
    text = "a: true\nb: 1.50\nc: 010\nd: on\ne: 2020-01-01\nf: ~\ng:\nh: 'null'\ni: 0x1F\nj: \"\"\nk: |\n  x\n  y\n"
    assert plain(read(text).root) == {
        "a": "true", "b": "1.50", "c": "010", "d": "on", "e": "2020-01-01", "f": None, "g": None, "h": "null",
        "i": "0x1F", "j": "", "k": "x\ny\n",
    }  # fmt: skip


def test_lines_are_known() -> None:
    root = read("a: 1\nb:\n  - x\n  - y: z\n").root
    assert isinstance(root, Mapping)
    assert root.entries["b"].line == 2
    items = root.get("b")
    assert isinstance(items, Sequence) and [item.line for item in items.items] == [3, 4]


def test_anchors_and_merges_are_followed() -> None:
    text = "base: &b {x: 1, y: 2}\none:\n  <<: *b\n  y: 3\ntwo: *b\nthree: {<<: [*b, {z: 4}]}\n"
    assert plain(read(text).root) == {
        "base": {"x": "1", "y": "2"},
        "one": {"y": "3", "x": "1"},
        "two": {"x": "1", "y": "2"},
        "three": {"x": "1", "y": "2", "z": "4"},
    }


def test_a_second_document_is_seen_and_not_read() -> None:
    found = read("a: 1\n---\nb: 2\n")
    assert plain(found.root) == {"a": "1"} and found.more == 2


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yml:3: 'a' is there twice, first on line 1"),
        ("a: &x\n  b: *x\n", "f.yml:2: *x stands inside of &x"),
        ("a: *x\n", "f.yml:1: *x refers to nothing"),
        ("a: 1\nb: [1\n", "not YAML"),
        ("a: b: c\n", "f.yml:1: not YAML"),
        ("a: 1\n\tb: 2\n", "f.yml:2: not YAML"),
        ("{a: 1}: 2\n", "f.yml:1: a key is a word, not a mapping"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yml:1: the tag '!!python/object/apply:os.system'"),
        ("a: !custom x\n", "f.yml:1: the tag '!custom'"),
        ("a: 1\n<<: 5\n", "f.yml:2: << takes a mapping"),
        ("a: " + "[" * 200 + "]" * 200, "levels of mappings and lists"),
        ("- " * 100_000 + "x", "levels of mappings and lists"),
        ("a:\n" + "".join(" " * depth + "b:\n" for depth in range(1, 100)), "levels of mappings and lists"),
        (LAUGHS, "with its aliases written out"),
        ("a: \x00\n", "not YAML"),
        ("a: '\ud800'\n", "not YAML"),
    ],
    ids=range(16),
)
def test_what_is_refused_says_where(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert words in str(caught.value)


def test_bytes_that_are_not_utf8_and_large_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"f\.yml:2: byte 0xff is not UTF-8"):
        decode(b"a: 1\nb: \xff\n", "f.yml")
    assert decode(b"\xef\xbb\xbfa: 1", "f.yml") == "a: 1"
    monkeypatch.setattr(document, "MAX_BYTES", 1 << 20)
    with pytest.raises(TooLarge, match=r"f\.yml: is larger than 1 MB"):
        decode(b"#" * ((1 << 20) + 1), "f.yml")


LEAF = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\ufeff"), min_size=1)
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LEAF, inner, max_size=4), max_leaves=12
)


@given(TREE)
def test_what_a_writer_of_yaml_wrote_is_read_back(tree: object) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True, default_style='"')
    assert plain(read(text).root) == tree


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#,? \n\t<%@`~0\\") | st.characters(), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except InvalidInput as error:
        assert str(error).startswith("f.yml")
