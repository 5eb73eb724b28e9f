"""`penstock new`: begins a function from a template (contract watchdog-cli §4.3)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock.cli.commands import Verb
from penstock.cli.options import note
from penstock.cli.output import print_json
from penstock.cli.target import DEFAULT_GATEWAY
from penstock.core.names import check_function_name
from penstock.errors import InvalidInput, NotFound
from penstock.model import Resources
from penstock.templates.catalogue import find_template
from penstock.templates.create import DEFAULT_FILE, Beginning, Begun, begin, check
from penstock.templates.model import Template


@click.command("new", cls=Verb)
@click.argument("name", required=False)
@click.option("--lang", metavar="TEMPLATE", default="", help="Template, perhaps with @ref; --list shows them.")
@click.option(
    "-p", "--prefix", default="", metavar="PREFIX", help="What an image's name begins with; else $OPENFAAS_PREFIX."
)
@click.option("-a", "--append", default="", metavar="FILE", help="Stack file that gets one more function.")
@click.option("-f", "--yaml", default="", metavar="FILE", help=f"Stack file to make. [default: {DEFAULT_FILE}]")
@click.option("--handler", default="", metavar="FOLDER", help="Folder for the source. [default: NAME]")
@click.option("-g", "--gateway", default=DEFAULT_GATEWAY, metavar="URL", help="Gateway to write into a new stack file.")
@click.option("--cpu-limit", default="", metavar="CPU", help="Such as 500m, or 0.5.")
@click.option("--cpu-request", default="", metavar="CPU", help="Such as 100m.")
@click.option("--memory-limit", default="", metavar="MEMORY", help="Such as 128Mi.")
@click.option("--memory-request", default="", metavar="MEMORY", help="Such as 64Mi.")
@click.option("--list", "listing", is_flag=True, help="Show the templates that are here, and do nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell what to do next.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Say what was made as JSON.")
def command(
    name: str | None,
    lang: str,
    prefix: str,
    append: str,
    yaml: str,
    handler: str,
    gateway: str,
    cpu_limit: str,
    cpu_request: str,
    memory_limit: str,
    memory_request: str,
    listing: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Begin a function: a folder with a handler, and an entry in a stack file.

    A template that is neither here nor one of Penstock's own is looked up in the template store.

    \b
    Examples:
      penstock new hello --lang python3-http
      penstock new words --lang cli --append stack.yaml
      penstock new api --lang node --prefix registry.example.com/team --memory-limit 128Mi
      penstock new --list
    """
    if listing:
        from penstock.cli.verbs.template import print_templates

        print_templates("json" if as_json else "table")
        return
    if not name:
        raise click.UsageError("Missing argument 'NAME'.")
    if not lang:
        raise click.UsageError("Missing option '--lang'; `penstock new --list` shows the templates.")
    if append and yaml and append != yaml:
        raise click.UsageError(f"--append {append} and --yaml {yaml} name two stack files; leave one out.")
    wish = Beginning(
        name=check_function_name(name, "NAME"),
        file=append or yaml or DEFAULT_FILE,
        append=bool(append),
        handler=handler,
        prefix=(prefix or os.environ.get("OPENFAAS_PREFIX", "")).strip(),
        gateway=gateway,
        requests=Resources(memory=memory_request, cpu=cpu_request),
        limits=Resources(memory=memory_limit, cpu=cpu_limit),
    )
    here = Path.cwd()
    check(wish, here)
    template = _template(lang, here)
    begun = begin(wish, template, "dockerfile" if template.name == "dockerfile" else lang, here)
    _print(begun, as_json)
    if not quiet:
        note(_hints(begun, template))


def _template(lang: str, here: Path) -> Template:
    """The template; from the store if it is not here."""
    try:
        return find_template(lang, here)
    except NotFound:
        from penstock.templates.ensure import fetch_template  # late: it is seldom needed

        fetch_template(lang, here, note, os.environ)
        return find_template(lang, here)
    except InvalidInput as error:
        raise InvalidInput(f"--lang: {error}") from error


def _print(begun: Begun, as_json: bool) -> None:
    if as_json:
        function = begun.function
        print_json(
            {
                "name": function.name,
                "lang": function.lang,
                "handler": begun.folder,
                "image": function.image,
                "file": begun.file,
            }
        )
        return
    if begun.folder:
        click.echo(f"Function created in folder: {begun.folder}")
    click.echo(f"Stack file {'extended' if begun.appended else 'written'}: {begun.file}")


def _hints(begun: Begun, template: Template) -> str:
    file = "" if begun.file == DEFAULT_FILE else f" -f {begun.file}"
    name = begun.function.name
    welcome = f"\n{template.welcome_message.strip()}\n" if template.welcome_message.strip() else ""
    return (
        f"{welcome}\nNext:\n"
        f"  penstock up{file}    builds and deploys it\n"
        f"  echo Ada | penstock invoke {name}    calls it"
    )
