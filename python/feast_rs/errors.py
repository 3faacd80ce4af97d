"""The exceptions of feast-rs.

All derive from :class:`FeastRsError`. Each also derives from what callers of stock Feast, or of
Python's own sockets, catch in its place. A message says what happened, to which address, view,
feature or entity, and what to do; it never holds a password.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError as ProtobufDecodeError

if TYPE_CHECKING:
    from feast_rs.reports import MaterializationReport


class FeastRsError(Exception):
    """Base of all exceptions that feast-rs raises."""


class ConfigError(FeastRsError):
    """The ``online_store`` section of ``feature_store.yaml`` cannot be used as it is written.

    It is no ``ValueError``: one of those pydantic would put into an error of Feast's whole
    configuration, which quotes all settings, the password among them.
    """


class ConnectionError(FeastRsError, builtins.ConnectionError):
    """Redis could not be reached, or went away."""


class TimeoutError(FeastRsError, builtins.TimeoutError):
    """A time limit passed: connecting, the server's silence, or the whole request."""


class ServerError(FeastRsError):
    """Redis answered with an error: a wrong password, a key of another type, no memory left."""


class ProtocolError(FeastRsError):
    """The server's bytes are no Redis protocol, or a reply is larger than ``max_reply_bytes``."""


class DecodeError(FeastRsError, ProtobufDecodeError, ValueError):
    """Stored bytes are not a Feast value, or not one that the declared type can hold."""


class EncodeError(FeastRsError, ValueError, TypeError):
    """A value cannot be written as the declared Feast type."""


class EntityKeyError(FeastRsError, ValueError, TypeError):
    """A value cannot be part of an entity key: it is null, or of a type or size that is not
    allowed."""


class ArgumentError(FeastRsError, ValueError):
    """The arguments of a call do not fit together."""


class MissingJoinKeyError(FeastRsError, KeyError):
    """The entity rows lack a join key of a requested feature view."""

    def __str__(self) -> str:
        # KeyError would show the message's repr.
        return str(self.args[0]) if self.args else ""


class NoEntityRowsError(MissingJoinKeyError, IndexError):
    """The request has no entity row."""


class FeatureListError(ArgumentError, AssertionError, TypeError):
    """The features of a request are neither a list nor a feature service."""


class EntityRowsError(ArgumentError, AttributeError):
    """The entity rows, or a column of them, are of a type that holds no rows."""


class SourceError(FeastRsError, KeyError):
    """A feature view's source lacks columns, cannot be read, or changed while it was read."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """A feature view's source is not there."""


class MaterializationError(FeastRsError):
    """A materialization failed; ``reports`` has what was written until then."""

    def __init__(self, message: str, reports: MaterializationReport) -> None:
        super().__init__(message)
        self.reports = reports
        """The reports of the feature views that ran, the failing one's the last."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (str(self), self.reports))
