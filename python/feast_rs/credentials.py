"""Credentials that expire: calls what ``credential_provider`` names."""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast_rs._core import CredentialPromise

logger = logging.getLogger(__name__)

_NAMES = ("username", "password", "expires_in")
_FORMS = (
    "it must return the password, (username, password), (username, password, seconds), or a "
    "mapping with the keys username, password and expires_in"
)


class _Misconfigured(Exception):
    """The provider cannot be what was meant."""


def answer(path: str, promise: CredentialPromise) -> None:
    """Calls the provider and hands what it answers to ``promise``. Runs in a thread of its own.

    No message quotes what the provider returned.
    """
    try:
        provider = _imported(path)
        returned = provider()
        username, password, seconds = _interpreted(returned)
    except _Misconfigured as fault:
        message, misconfigured = str(fault), True
    except BaseException as error:
        message, misconfigured = f"{type(error).__name__}: {error}", False
    else:
        promise.keep(username, password, seconds)
        return
    # The caller gets its answer whatever the log's handlers do.
    promise.fail(message, misconfigured)
    logger.warning("credential_provider %s: %s", path, message)


def _imported(path: str) -> Callable[[], Any]:
    module_name, colon, names = path.partition(":")
    if not colon:
        module_name, _, names = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        provider = functools.reduce(getattr, names.split("."), module)
    except Exception as error:
        raise _Misconfigured(f"cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(provider):
        raise _Misconfigured(f"is no function but a {type(provider).__name__}")
    return provider


def _interpreted(returned: Any) -> tuple[str | None, str, float | None]:
    """User name, password, and the seconds for which they do."""
    username: Any = None
    password: Any
    seconds: Any = None
    match returned:
        case str():
            password = returned
        case Mapping():
            unknown = [name for name in returned if name not in _NAMES]
            if unknown:
                raise _Misconfigured(f"returned a mapping with {len(unknown)} other keys; {_FORMS}")
            username, password, seconds = (returned.get(name) for name in _NAMES)
        case (username, password):
            pass
        case (username, password, seconds):
            pass
        case _:
            if inspect.iscoroutine(returned):
                returned.close()
                raise _Misconfigured("is async; it must be a plain function")
            raise _Misconfigured(f"returned {type(returned).__name__}; {_FORMS}")
    if username is not None and not isinstance(username, str):
        raise _Misconfigured(f"returned a username of type {type(username).__name__}")
    if not isinstance(password, str):
        raise _Misconfigured(f"returned a password of type {type(password).__name__}")
    if not password:
        raise _Misconfigured("returned an empty password")
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0
    ):
        raise _Misconfigured("returned a life time that is no number of seconds above 0")
    return username, password, None if seconds is None else float(seconds)
