"""What the user may do on a server, found out without doing it."""

from __future__ import annotations

from collections.abc import Sequence

from feast_rs.config import RedisOnlineStoreConfig
from feast_rs.diagnosis import wording
from feast_rs.diagnosis.findings import Findings
from feast_rs.diagnosis.servers import Server
from feast_rs.errors import ServerError

Command = tuple[bytes, ...]


def examine_rights(
    server: Server, settings: RedisOnlineStoreConfig, key: bytes, found: Findings
) -> None:
    """Tries the commands that feast-rs uses, on `key`, which this project could have."""
    reading: list[Command] = [(b"HGETALL", key), (b"HMGET", key, b"field")]
    try:
        user = server.ask(b"ACL", b"WHOAMI")
        user = user if isinstance(user, bytes) else str(user).encode()
        forbidden = _forbidden(server, user, reading)
    except ServerError as error:
        _examine_reading(server, reading, wording.error(error), found)
        return
    if forbidden:
        _forbids_reading(server, forbidden, found)
    if server.report.role != "primary":
        return
    if not forbidden:
        found.ok("rights", server.address, "the user may read features")
    for what, commands, advice in (
        ("write features", _writing(settings, key), "Grant them if this user is to write."),
        ("delete features", _deleting(key), "Grant them if this user is to run feast apply."),
        (
            "find the servers",
            _finding(settings),
            "Grant them; without, feast-rs cannot follow the servers.",
        ),
        (
            "end a lost connection's late writes",
            [(b"CLIENT", b"ID"), (b"CLIENT", b"KILL", b"ID", b"1")],
            "Grant them if this user is to materialize: what a lost connection still sends could "
            "arrive after newer rows.",
        ),
    ):
        forbidden = _forbidden(server, user, commands)
        if forbidden and what == "find the servers":
            found.warning(
                "rights", server.address, f"the user may not {what}: {_listed(forbidden)}", advice
            )
        elif forbidden:
            found.info(
                "rights", server.address, f"the user may not {what}: {_listed(forbidden)}", advice
            )
        elif commands:
            found.ok("rights", server.address, f"the user may {what}")


def _writing(settings: RedisOnlineStoreConfig, key: bytes) -> list[Command]:
    commands: list[Command] = [(b"HSET", key, b"field", b"value")]
    if settings.key_ttl_seconds is not None:
        commands.append((b"EXPIRE", key, b"60"))
    if settings.atomic_writes:
        script = b"0" * 40
        commands.append((b"SCRIPT", b"LOAD", b"return 1"))
        commands.append((b"EVAL", b"return 1", b"1", key))
        commands.append((b"EVALSHA", script, b"1", key))
    elif not settings.skip_dedup:
        commands.append((b"HMGET", key, b"field"))
    return commands


def _deleting(key: bytes) -> list[Command]:
    return [(b"SCAN", b"0"), (b"HKEYS", key), (b"HDEL", key, b"field"), (b"UNLINK", key)]


def _finding(settings: RedisOnlineStoreConfig) -> list[Command]:
    if settings.redis_type == "redis_cluster":
        return [(b"CLUSTER", b"SLOTS"), (b"READONLY",)]
    return [(b"ROLE",)]


def _forbidden(server: Server, user: bytes, commands: Sequence[Command]) -> list[str]:
    """Which commands the user may not run. Raises ``ServerError`` if the server cannot tell."""
    names = []
    for command in commands:
        verdict = server.ask(b"ACL", b"DRYRUN", user, *command)
        if verdict not in ("OK", b"OK"):
            names.append(_name(command))
    return names


def _examine_reading(
    server: Server, reading: Sequence[Command], cause: str, found: Findings
) -> None:
    """Reads for real, where the server does not say what would happen: it is before Redis 7, or
    the user may not ask."""
    forbidden = []
    for command in reading:
        try:
            server.ask(*command)
        except ServerError as error:
            if "NOPERM" in str(error):
                forbidden.append(_name(command))
    if forbidden:
        _forbids_reading(server, forbidden, found)
    elif server.report.role == "primary":
        found.info(
            "rights",
            server.address,
            f"the user may read features; whether it may write was not found out: {cause}",
        )


def _forbids_reading(server: Server, forbidden: Sequence[str], found: Findings) -> None:
    found.error(
        "rights",
        server.address,
        f"the user may not read features: {_listed(forbidden)}",
        "Grant the user these commands and all keys (~*): Feast's keys begin with bytes, and end "
        "with the project's name.",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _name(command: Command) -> str:
    words = 2 if command[0] in (b"CLIENT", b"SCRIPT", b"CLUSTER") else 1
    return b" ".join(command[:words]).decode()
