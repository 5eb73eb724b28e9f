"""What `penstock invoke` sends when a call's input or output is an object of a store.

Such a call speaks to the gateway as well as to the function, so that it carries the login; the gateway keeps it to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.cli.target import Target, authorization_for
from penstock.storage.reference import parse_reference

INPUT, OUTPUT = "X-Input-Object", "X-Output-Object"


def object_fields(
    source: str, sink: str, given: Sequence[tuple[str, str]], target: Target, environ: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Header fields beside those that were `given`; none without objects. Raises InvalidInput for what is no reference.

    An `Authorization` of the user's own, such as a function's token, is not replaced.
    """
    fields = [(name, str(parse_reference(text))) for name, text in ((INPUT, source), (OUTPUT, sink)) if text]
    if fields and not any(name.lower() == "authorization" for name, _ in given):
        login = authorization_for(target.url, "", environ)
        if login:
            fields.append(("Authorization", login))
    return fields
