"""Ruby: a Gemfile's gems are put beside the handler by bundler; where it names none there is nothing to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from penstock.builders.native.checks import check_each
from penstock.builders.native.work import Places, Work, find_tool, identity_of

_GEMS = re.compile(r"^\s*(gem|gemspec|eval_gemfile)\b", re.MULTILINE)
"""Lines of a Gemfile that ask for something."""


def identity(environ: Mapping[str, str]) -> str:
    """Gems with native parts are made for one version of ruby."""
    return identity_of(find_tool("ruby", "ruby", environ))


def make(work: Work) -> Places:
    """Check the handler's syntax and see to its gems, which are found by `bundle exec` and `bundler/setup`."""
    check_each(work, [find_tool("ruby", "ruby", work.environ), "-c"], (".rb",))
    gemfile = work.function / "Gemfile"
    if gemfile.is_file() and _GEMS.search(gemfile.read_text(errors="replace")):
        bundle = find_tool("bundle", "bundler", work.environ, "brings the gems of the Gemfile")
        work.progress("bundle install")
        beside = replace(work, environ={**work.environ, "BUNDLE_APP_CONFIG": ".bundle"})
        beside.run([bundle, "config", "set", "--local", "path", "vendor/bundle"])
        beside.run([bundle, "install", "--quiet"])
    return Places()
