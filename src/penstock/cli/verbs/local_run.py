"""`penstock local-run`: one function in the foreground, with its logs on the terminal (contract watchdog-cli §4.3)."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import click
import msgspec

from penstock.builders.choose import choose
from penstock.builders.many import Job
from penstock.builders.model import Built
from penstock.builders.native.builder import NativeBuilder
from penstock.cli import localrun
from penstock.cli.building import BuildWish, build_all, build_options, check_all, is_built, jobs_of
from penstock.cli.commands import Verb
from penstock.cli.options import note, pairs
from penstock.cli.stackoptions import StackFile, stack_options
from penstock.cli.watching import check_readable_again
from penstock.errors import InvalidInput, NotFound, NotSupported
from penstock.stack.model import Stack, StackFunction


@click.command("local-run", cls=Verb)
@click.argument("name", required=False, default="")
@stack_options
@build_options
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0: any free.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable; may be given many times.")
@click.option("--print", "show", is_flag=True, help="Print the command instead of running it.")
@click.option("--build/--no-build", default=True, show_default=True, help="Build it first.")
@click.option("--watch", is_flag=True, help="Build and start it anew when its source or the stack file changes.")
@click.option("--network", default="", metavar="NAME", help="Network of its container.")
def command(
    stack_file: StackFile,
    wish: BuildWish,
    name: str,
    port: int,
    env: tuple[str, ...],
    show: bool,
    build: bool,
    watch: bool,
    network: str,
) -> None:
    """Run one function of a stack file in the foreground, without a gateway.

    Where its template can do without a container it runs under a watchdog of this machine, else in a container of its image.
    Its log is on stderr; Ctrl-C ends it. Secrets are the files in ./.secrets.

    \b
    Examples:
      penstock local-run hello
      penstock local-run hello --port 0 --env debug=1 --watch
      penstock local-run hello --builder docker --print
    """
    given = pairs(env, "--env")
    check_readable_again(watch, stack_file)

    def load() -> Stack:
        return _one(stack_file.load(), name)

    def make(stack: Stack) -> localrun.Command:
        function = stack.functions[0]
        built = _built(stack, wish, build)
        made = localrun.command_for(function, built, given, port)
        if network and made.arguments[0] == "docker":
            made = replace(made, arguments=[*made.arguments[:-1], f"--network={network}", made.arguments[-1]])
        if made.arguments[0] == "docker" and not show and shutil.which("docker") is None:
            raise NotSupported("'docker' is not installed, which runs images: apt-get install docker.io")
        return made

    stack = load()
    if show:
        click.echo(make(stack).shown())
    elif watch:
        localrun.follow(stack, load, make)
    else:
        made = make(stack)
        if port:
            note(f"{stack.functions[0].name} will be at http://127.0.0.1:{port}; Ctrl-C ends it.")
        localrun.become(made)


def _one(stack: Stack, name: str) -> Stack:
    """The stack with that function alone. Raises InvalidInput."""
    names = ", ".join(function.name for function in stack.functions)
    chosen = [function for function in stack.functions if not name or function.name == name]
    if not chosen and (not names or name in [pipeline.name for pipeline in stack.pipelines]):
        raise InvalidInput(f"{name or stack.file}: a pipeline runs at a gateway only; deploy it with `penstock up`")
    if not chosen:
        raise InvalidInput(f"{stack.file} has no function {name!r}; it has {names}")
    if len(chosen) > 1:
        raise InvalidInput(f"which of them? Name one: {names}")
    return msgspec.structs.replace(stack, functions=tuple(chosen))


def _built(stack: Stack, wish: BuildWish, build: bool) -> Built | None:
    """What the function's builder made, or finds without building. Raises PenstockError."""
    function = stack.functions[0]
    if not is_built(function):
        return None
    job, kind = _job(stack, wish)
    if not build and job.request is not None:
        if kind != "native":
            return Built(function=function.name, image=job.request.image)
        if found := NativeBuilder(os.environ).locate(job.request):
            return found
        raise NotFound(f"{function.name} is not built yet, or has changed since: leave out --build=false")
    builder = choose(kind, None, os.environ)
    [outcome] = build_all(builder, [job], wish)
    check_all([outcome])
    return outcome.built


def _job(stack: Stack, wish: BuildWish) -> tuple[Job, str]:
    """How it is built: without a container where the template says how, unless another way was asked for."""
    if wish.builder in ("auto", "native"):
        [job] = jobs_of(stack, wish, image=False, native=True)
        template = job.request.template if job.request else None
        if wish.builder == "native" or job.fault or (template and template.native):
            return job, "native"
    [job] = jobs_of(stack, wish, image=True)
    return job, _image_builder(wish.builder, stack.functions[0])


def _image_builder(wish: str, function: StackFunction) -> str:
    if wish != "auto":
        return wish
    if shutil.which("docker") is None:
        raise NotSupported(
            f"{function.where}: function {function.name!r} needs a container, and docker is not installed: apt-get install docker.io"
        )
    return "docker"
