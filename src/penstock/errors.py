"""Every error that Penstock raises on purpose, in one small tree.

Each class says whose fault it is, which HTTP status the REST API answers with and which exit code the command line ends
with. Providers, queues and the scaler raise these and never speak HTTP; the control API and the CLI translate them once.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Blame = Literal["client", "platform", "function"]


class PenstockError(Exception):
    """Base of all deliberate errors; `str(error)` is a sentence fit for a user."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    blame: ClassVar[Blame] = "platform"


class InvalidInput(PenstockError):
    """A name, field or body that breaks a rule; the message names the field and the rule."""

    status = 400
    exit_code = 2
    blame = "client"


class TooLarge(InvalidInput):
    """A request body above the limit that the message names."""

    status = 413


class SettingsError(PenstockError):
    """One or more settings cannot be used; the message lists all of them."""

    exit_code = 2
    blame = "client"


class Unauthorized(PenstockError):
    """Missing or wrong admin credentials."""

    status = 401
    exit_code = 4
    blame = "client"


class Forbidden(PenstockError):
    """Whoever asks is known, or says so, and may not do that."""

    status = 403
    exit_code = 4
    blame = "client"


class NotFound(PenstockError):
    """The named thing does not exist."""

    status = 404
    blame = "client"


class FunctionNotFound(NotFound):
    """No function of that name in that namespace."""


class SecretNotFound(NotFound):
    """No secret of that name in that namespace."""


class NamespaceNotFound(NotFound):
    """No such namespace."""


class AlreadyExists(PenstockError):
    """The thing to create exists."""

    status = 409
    blame = "client"


class FunctionExists(AlreadyExists):
    """A function of that name is deployed; update it instead. The deploy route answers 400 (contract gateway §1.3)."""

    status = 400


class NotSupported(PenstockError):
    """This provider does not do that; declared in its capabilities."""

    status = 501
    blame = "client"


class ProviderUnavailable(PenstockError):
    """The back-end (engine, cluster, zygote) does not answer."""

    status = 503


class GatewayUnavailable(PenstockError):
    """The command line could not reach the gateway."""

    exit_code = 3


class BuildFailed(PenstockError):
    """A build ended badly; `words` are the compiler's own, for people to read as they are."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words
