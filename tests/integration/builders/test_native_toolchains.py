"""Each toolchain with its real tools and without a network: packages are files in the handler's folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from penstock.errors import BuildFailed, InvalidInput, NotSupported
from penstock.templates.model import Toolchain
from tests.conftest import debian_path
from tests.integration.builders.wheels import wheel
from tests.integration.builders.workplace import Workplace


def run(*arguments: str | Path, **environ: str) -> str:
    return subprocess.run(
        arguments, capture_output=True, text=True, check=True, env={**os.environ, **environ}, timeout=120
    ).stdout.strip()


# Python


@pytest.fixture
def python(project: Path) -> Workplace:
    environment = {"mode": "python", "handler": "{function}/handler.py", "python_path": "{site}"}
    place = Workplace(project, "python", fprocess="{python} {function}/handler.py", environment=environment)
    place.handler({"handler.py": "import tiny\nprint(tiny.WORD)\n"})
    return place


def test_python_without_requirements_has_no_environment(python: Workplace) -> None:
    python.handler({"requirements.txt": "# nothing yet\n\n"})
    built = python.build()
    assert "python_path" not in built.environment
    assert not (python.builds / ".shared").exists()


def test_python_packages_come_from_requirements(python: Workplace) -> None:
    wheel(python.here / "fn/wheels", "tiny", "WORD = 'from the wheel'\n")
    python.handler({"requirements.txt": "./wheels/tiny-1.0-py3-none-any.whl  # beside it\n"})
    built = python.build()
    assert Path(built.environment["python_path"], "tiny.py").is_file()
    assert run(*built.fprocess.split(" ")) == "from the wheel"
    assert "installing 1 package" in python.told


def test_python_environments_are_shared_by_what_they_hold(python: Workplace) -> None:
    """Wheels of a folder that pip is pointed at, so that the requirement is a plain one."""
    wheel(python.here.parent / "wheels", "tiny", "WORD = 'shared'\n")
    python.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(python.here.parent / "wheels")}
    python.environ |= {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(python.here.parent / "wheels")}
    python.handler({"requirements.txt": "tiny==1.0\n"})
    first = python.build()
    python.handler({"handler.py": "import tiny\nprint('other', tiny.WORD)\n"})
    second = python.build()
    assert first.folder != second.folder
    assert first.environment["python_path"] == second.environment["python_path"]
    assert run(*second.fprocess.split(" ")) == "other shared"
    python.handler({"requirements.txt": "tiny>=1.0\n"})
    assert python.build().environment["python_path"] != first.environment["python_path"]


def test_a_python_environment_whose_interpreter_is_gone_is_made_again(python: Workplace) -> None:
    wheel(python.here / "fn/wheels", "tiny", "WORD = 'again'\n")
    python.handler({"requirements.txt": "./wheels/tiny-1.0-py3-none-any.whl\n"})
    interpreter = Path(python.build().fprocess.split(" ")[0])
    assert python.build().cached
    interpreter.unlink()
    interpreter.symlink_to(python.here / "an-interpreter-that-was-here")
    built = python.build()
    assert not built.cached
    assert run(*built.fprocess.split(" ")) == "again"


def test_python_dependencies_of_a_project_file(python: Workplace) -> None:
    wheel(python.here.parent / "wheels", "tiny", "WORD = 'project'\n")
    python.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(python.here.parent / "wheels")}
    python.environ |= {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(python.here.parent / "wheels")}
    python.handler({"pyproject.toml": '[project]\nname = "fn"\nversion = "1"\ndependencies = ["tiny"]\n'})
    assert run(*python.build().fprocess.split(" ")) == "project"


def test_python_packages_that_do_not_exist(python: Workplace) -> None:
    python.environ |= {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}
    python.handler({"requirements.txt": "no-such-package-anywhere\n"})
    with pytest.raises(BuildFailed) as caught:
        python.build()
    assert "no-such-package-anywhere" in caught.value.words
    assert python.left() == set()
    assert [path for path in (python.builds / ".shared/venvs").iterdir() if path.is_dir()] == []


def test_python_syntax_errors_name_the_users_own_file(python: Workplace) -> None:
    python.handler({"handler.py": "def handle(event, context):\n    return (\n", "lib/__init__.py": "", "lib/a.py": ""})
    with pytest.raises(BuildFailed, match=r"fn/handler\.py cannot be compiled") as caught:
        python.build()
    assert 'File "fn/handler.py", line 2' in caught.value.words
    assert "SyntaxError: '(' was never closed" in caught.value.words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[project", "fn/pyproject.toml cannot be read"),
        ("project = 1", "project: must be a table"),
        ('[project]\ndynamic = ["dependencies"]', "write them to requirements.txt"),
        ("[project]\ndependencies = [1]", "must be a list of texts"),
    ],
)
def test_python_project_files_that_cannot_be_used(python: Workplace, text: str, words: str) -> None:
    python.handler({"pyproject.toml": text})
    with pytest.raises(InvalidInput, match=words):
        python.build()


# Node


@pytest.fixture
def node(project: Path) -> Workplace:
    place = Workplace(project, "node", fprocess="node {function}/handler.js")
    place.environ |= {"npm_config_offline": "true", "npm_config_cache": str(project.parent / "npm")}
    place.handler({"handler.js": "console.log(require('tiny'))\n"})
    return place


@pytest.mark.service("node", "npm")
def test_node_packages_of_the_handlers_own_folder(node: Workplace) -> None:
    node.handler(
        {
            "package.json": json.dumps({"name": "fn", "dependencies": {"tiny": "file:./tiny"}}),
            "tiny/package.json": json.dumps({"name": "tiny", "version": "1.0.0"}),
            "tiny/index.js": "module.exports = 'from the folder'\n",
            "node_modules/tiny/index.js": "module.exports = 'left over'\n",
        }
    )
    assert run(*node.build().fprocess.split(" ")) == "from the folder"


@pytest.mark.service("node", "npm")
def test_node_modules_are_shared_by_their_lock(node: Workplace) -> None:
    lock = {
        "name": "fn",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "packages": {"": {"name": "fn", "version": "1.0.0"}},
    }
    node.handler(
        {"package.json": json.dumps({"name": "fn", "version": "1.0.0"}), "package-lock.json": json.dumps(lock)}
    )
    first = node.build()
    assert "npm ci" in node.told
    node.handler({"handler.js": "console.log('other')\n"})
    second = node.build()
    modules = [os.readlink(built.folder / "function/node_modules") for built in (first, second) if built.folder]
    assert modules[0] == modules[1]
    assert node.told.count("npm ci") == 1


@pytest.mark.service("node")
def test_node_without_packages_needs_no_npm(node: Workplace) -> None:
    node.handler({"package.json": '{"name": "fn"}', "handler.js": "console.log('plain')\n"})
    assert run(*node.build().fprocess.split(" ")) == "plain"
    assert node.told == []


@pytest.mark.service("node")
@pytest.mark.parametrize("text", ["{", "[]", '{"dependencies": ["a"]}'])
def test_node_a_package_file_that_is_none(node: Workplace, text: str) -> None:
    node.handler({"package.json": text})
    with pytest.raises(InvalidInput, match=r"fn/package\.json"):
        node.build()


# Compilers


@pytest.mark.service("go")
def test_go_makes_a_program_and_says_what_it_cannot_compile(project: Path) -> None:
    place = Workplace(project, "go", fprocess="{build}/handler")
    place.environ |= {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    place.beside(
        {
            "go.mod": "module main\n\ngo 1.19\n",
            "main.go": 'package main\n\nimport "main/function"\n\nfunc main() { function.Say() }\n',
        }
    )
    place.handler({"handler.go": 'package function\n\nfunc Say() { println("compiled") }\n'})
    assert subprocess.run(place.build().fprocess, capture_output=True, text=True, check=True).stderr == "compiled\n"
    place.handler({"handler.go": "package function\n\nfunc Say() { undefined() }\n"})
    with pytest.raises(BuildFailed) as caught:
        place.build()
    assert "fn/handler.go:3:14: undefined: undefined" in caught.value.words


@pytest.mark.service("go")
def test_go_words_name_no_place_of_ours(project: Path) -> None:
    place = Workplace(project, "go", fprocess="{build}/handler")
    place.environ |= {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    place.beside(
        {
            "go.mod": "module main\n\ngo 1.19\n",
            "main.go": 'package main\n\nimport "main/function"\n\nfunc main() { function.Say() }\n',
        }
    )
    place.handler({"handler_test.go": "package function\n"})
    with pytest.raises(BuildFailed) as caught:
        place.build()
    assert "fn" in caught.value.words and str(place.builds) not in caught.value.words


@pytest.mark.service("javac")
def test_java_makes_classes_and_says_what_it_cannot_compile(project: Path) -> None:
    place = Workplace(project, "java", fprocess="java -cp {build}/classes Main")
    place.beside(
        {"Main.java": "class Main { public static void main(String[] a) { System.out.println(Handler.word()); } }"}
    )
    place.handler({"Handler.java": 'class Handler { static String word() { return "compiled"; } }'})
    assert run(*place.build().fprocess.split(" ")) == "compiled"
    place.handler({"Handler.java": "class Handler { static String word() { return 1; } }"})
    with pytest.raises(BuildFailed) as caught:
        place.build()
    assert "fn/Handler.java:1: error: incompatible types" in caught.value.words
    (project / "fn/Handler.java").unlink()
    (project / "template/t/Main.java").unlink()
    with pytest.raises(InvalidInput, match=r"there is no \.java file"):
        place.build()


BROKEN = {
    "bash": ("handler.sh", "if then\n", "handler.sh: line 1: syntax error"),
    "node": ("handler.js", "function (\n", "fn/handler.js:1"),
    "ruby": ("handler.rb", "def run(\n", "handler.rb:"),
    "php": ("handler.php", "<?php function (\n", "handler.php"),
}


@pytest.mark.parametrize(
    "toolchain", [pytest.param(name, marks=pytest.mark.service(name)) for name in ("bash", "node", "ruby", "php")]
)
def test_scripts_are_checked_by_their_interpreters(project: Path, toolchain: Toolchain) -> None:
    place = Workplace(project, toolchain)
    file, text, words = BROKEN[toolchain]
    place.handler({file: text})
    with pytest.raises(BuildFailed, match=rf"fn/{file} cannot be compiled") as caught:
        place.build()
    assert words in caught.value.words
    assert place.left() == set()


@pytest.mark.parametrize(
    "text",
    ["#!/usr/bin/env bash\nshopt -s extglob\ncase x in !(a|b)) cat ;; esac\n", "#!/usr/bin/env fish\nif true; end\n"],
    ids=["patterns", "another shell"],
)
def test_scripts_that_bash_would_not_run_as_it_reads_them_are_no_faults(project: Path, text: str) -> None:
    place = Workplace(project, "bash")
    place.handler({"handler.sh": text})
    assert place.build().folder is not None


MISSING: dict[str, str] = {
    "bash": "'bash' is not installed: apt-get install bash",
    "node": "'node' is not installed: apt-get install nodejs",
    "go": "'go' is not installed: apt-get install golang-go",
    "java": "'javac' is not installed: apt-get install default-jdk-headless",
    "ruby": "'ruby' is not installed: apt-get install ruby",
    "php": "'php' is not installed: apt-get install php-cli",
}


@pytest.mark.parametrize("toolchain", sorted(MISSING))
def test_a_missing_toolchain_is_named_with_its_package(project: Path, toolchain: Toolchain) -> None:
    place = Workplace(project, toolchain)
    place.handler({"x": "x"})
    place.environ["PATH"] = str(project)
    with pytest.raises(NotSupported) as caught:
        place.build()
    assert str(caught.value) == MISSING[toolchain]


@pytest.mark.parametrize(
    ("toolchain", "file", "words"),
    [
        pytest.param("ruby", ("Gemfile", 'gem "x"\n'), "apt-get install bundler", marks=pytest.mark.service("ruby")),
        pytest.param("php", ("composer.json", "{}"), "apt-get install composer", marks=pytest.mark.service("php")),
        pytest.param(
            "node",
            ("package.json", '{"dependencies": {"x": "1"}}'),
            "apt-get install npm",
            marks=pytest.mark.service("node"),
        ),
    ],
)
def test_a_missing_package_manager_is_named(
    project: Path, toolchain: Toolchain, file: tuple[str, str], words: str
) -> None:
    place = Workplace(project, toolchain)
    place.handler(dict([file]))
    only = project.parent / "bin"
    only.mkdir()
    (only / toolchain).symlink_to(str(shutil.which(toolchain, path=debian_path())))
    place.environ["PATH"] = str(only)
    with pytest.raises(NotSupported, match=words):
        place.build()


@pytest.mark.service("ruby")
def test_a_gemfile_that_names_no_gems_needs_no_bundler(project: Path) -> None:
    place = Workplace(project, "ruby")
    place.handler({"Gemfile": 'source "https://rubygems.org"\n# gem "rack"\n'})
    place.build()
