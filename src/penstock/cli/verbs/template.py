"""`penstock template`: what functions begin with, here, in git repositories and in the template store (contract watchdog-cli §4.3)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock.cli.commands import AliasGroup
from penstock.cli.options import note, output_option
from penstock.cli.output import print_columns, print_fields, print_json
from penstock.cli.stackoptions import StackFile
from penstock.templates.catalogue import pulled, shipped
from penstock.templates.model import Template
from penstock.templates.templatestore import VARIABLE, Store, find, on_platform, read_store

DEFAULT_REPOSITORY = "https://github.com/openfaas/templates.git"
"""Where `template pull` goes when it is told nothing (contract watchdog-cli §4.1, OPENFAAS_TEMPLATE_URL)."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group("template", cls=AliasGroup, aliases={"ls": "list"})
def command() -> None:
    """Show templates, and bring others from git repositories.

    \b
    Examples:
      penstock template list
      penstock template pull https://github.com/openfaas/golang-http-template
      penstock template store list
    """


def _overwrite_option(function: F) -> F:
    return click.option(
        "--overwrite/--no-overwrite",
        default=True,
        show_default=True,
        help="Replace templates that are in ./template already.",
    )(function)


@command.command("list")
@output_option
def list_(output: str) -> None:
    """List the templates that are here: Penstock's own, and those in ./template, which come first.

    \b
    Examples:
      penstock template list
      penstock template ls --output json
    """
    print_templates(output)


def print_templates(output: str) -> None:
    """The templates that `new` finds without asking anybody."""
    here = pulled(Path.cwd())
    names = {template.name for template in here}
    templates = sorted([*here, *(one for one in shipped() if one.name not in names)], key=lambda one: one.name)
    if output == "json":
        print_json([{"name": one.name, "description": _described(one), "from": _origin(one)} for one in templates])
        return
    rows = [[one.name, _origin(one), _described(one)] for one in templates]
    print_columns(("NAME", "FROM", "DESCRIPTION"), rows, (20, 12, 0))


def _origin(template: Template) -> str:
    return "penstock" if template.shipped else "./template"


def _described(template: Template) -> str:
    return template.description or template.language


@command.command("pull")
@click.argument("source", metavar="[URL[#REF] | stack]", required=False)
@_overwrite_option
@click.option("-f", "--yaml", metavar="FILE", help="Stack file for `template pull stack`.")
@click.option(
    "--debug", is_flag=True, hidden=True, expose_value=False, help="Known to faas-cli; git's words are shown anyway."
)
def pull_(source: str | None, overwrite: bool, yaml: str | None) -> None:
    """Bring the templates of a git repository to ./template.

    REF is a branch, a tag, or sha- and a commit's digits; the templates are then called NAME@REF. The repository may be a
    folder. `stack` stands for what `configuration.templates` in the stack file lists.

    \b
    Examples:
      penstock template pull https://github.com/openfaas/golang-http-template
      penstock template pull git@example.com:team/templates.git#v1.2
      penstock template pull ../templates
      penstock template pull stack -f stack.yaml
    """
    here = Path.cwd()
    if source == "stack":
        from penstock.templates.ensure import pull_configured

        stack = StackFile(yaml=yaml).load()
        _print_pulled(pull_configured(stack, here, note, os.environ, overwrite=overwrite), stack.file)
        return
    if yaml:
        raise click.UsageError("--yaml belongs to `template pull stack`.")
    _pull(source or os.environ.get("OPENFAAS_TEMPLATE_URL") or DEFAULT_REPOSITORY, here, overwrite)


def _pull(text: str, here: Path, overwrite: bool, ref: str = "") -> None:
    from penstock.templates.read import check_ref
    from penstock.templates.repository import Wanted, pull
    from penstock.templates.source import Source, parse_source

    source = parse_source(text, here)
    source = Source(source.url, check_ref(ref)) if ref else source
    at = f" at {source.ref}" if source.ref else ""
    note(f"Pulling templates from {source.shown}{at}")
    _print_pulled(pull(source, here, os.environ, Wanted(overwrite=overwrite)), source.shown)


def _print_pulled(names: tuple[str, ...], place: str) -> None:
    click.echo(
        f"Wrote {len(names)} template{'' if len(names) == 1 else 's'} from {place}{':' * bool(names)} {', '.join(names)}".rstrip()
    )


@command.group("store", cls=AliasGroup, aliases={"ls": "list", "inspect": "describe"})
def store() -> None:
    """Look into the template store, a list of repositories, and bring templates from it.

    \b
    Examples:
      penstock template store list --recommended
      penstock template store describe golang-middleware
      penstock template store pull golang-middleware
    """


def _store_options(function: F) -> F:
    url = click.option("-u", "--url", default="", metavar="URL", help=f"Store, a URL or a file; else ${VARIABLE}.")
    return url(function)


@store.command("list")
@_store_options
@click.option("-v", "--verbose", is_flag=True, help="Show everything that the store says.")
@click.option("-o", "--official", is_flag=True, help="Official ones only.")
@click.option("-r", "--recommended", is_flag=True, help="Recommended ones only.")
@click.option("-p", "--platform", default="x86_64", show_default=True, metavar="NAME", help="Platform to run on.")
@click.option("-j", "--json", "as_json", is_flag=True, help="The same as --output json.")
@click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Output format."
)
def store_list(
    url: str, verbose: bool, official: bool, recommended: bool, platform: str, as_json: bool, output: str
) -> None:
    """List the templates of the store: the recommended ones first, then official ones, then the others.

    \b
    Examples:
      penstock template store list
      penstock template store ls --official --verbose
      penstock template store list --url ./templates.json --output json
    """
    templates = [
        template
        for template in on_platform(_read(url).templates, platform)
        if (template.official == "true" or not official) and (template.recommended or not recommended)
    ]
    if as_json or output == "json":
        print_json(templates)
    elif verbose:
        headings = ("NAME", "LANGUAGE", "PLATFORM", "RECOMMENDED", "OFFICIAL", "DESCRIPTION", "SOURCE")
        rows = [
            [one.template, one.language, one.platform, _mark(one.recommended), _mark(one.official == "true"), one.description, one.source]
            for one in templates
        ]  # fmt: skip
        print_columns(headings, rows, (24, 12, 10, 11, 8, 40, 0))
    else:
        rows = [[one.template, _mark(one.recommended), one.description, one.source] for one in templates]
        print_columns(("NAME", "RECOMMENDED", "DESCRIPTION", "SOURCE"), rows, (24, 11, 40, 0))


@store.command("describe")
@click.argument("name")
@_store_options
@output_option
def describe(name: str, url: str, output: str) -> None:
    """Show what the store says of one template; NAME may be OWNER/NAME.

    \b
    Examples:
      penstock template store describe golang-middleware
      penstock template store inspect python3-http --output json
    """
    template = find(_read(url), name)
    if output == "json":
        print_json(template)
        return
    print_fields(
        [
            ("Name", template.template),
            ("Description", template.description),
            ("Language", template.language),
            ("Platform", template.platform),
            ("Source", template.source or "shipped with Penstock"),
            ("Repository", template.repo),
            ("Official", template.official),
            ("Recommended", str(template.recommended).lower()),
        ]
    )


@store.command("pull")
@click.argument("name", metavar="NAME[@REF]")
@_store_options
@_overwrite_option
@click.option("--debug", is_flag=True, hidden=True, expose_value=False, help="Known to faas-cli.")
def store_pull(name: str, url: str, overwrite: bool) -> None:
    """Bring a template of the store to ./template, with the others of its repository.

    \b
    Examples:
      penstock template store pull golang-middleware
      penstock template store pull python3-http@v1.0
    """
    base, _, ref = name.partition("@")
    template = find(_read(url), base)
    if not template.source:
        note(f"{template.template} is shipped with Penstock; there is nothing to pull.")
        return
    _pull(template.source, Path.cwd(), overwrite, ref)


def _read(url: str) -> Store:
    """The store; says so when it is only our own."""
    found = read_store(url, os.environ)
    if found.unreachable:
        note(f"Note: {found.unreachable}. These are the templates that are shipped with Penstock.")
    return found


def _mark(value: bool) -> str:
    return "[x]" if value else "[ ]"
