"""The command line: ``python -m feast_rs``, or ``feast-rs``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from feast_rs.errors import ArgumentError, FeastRsError

if TYPE_CHECKING:
    from feast import FeatureStore
    from pydantic import ValidationError

DONE, FAILED = 0, 1
_EXIT_CODES = "exit codes: 0 done, 1 failed or something to look at, 2 wrong usage"
# What YAML's words quote: what is in the file, or only what YAML expects there.
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|['"].*""", re.DOTALL)
_EXPECTED = re.compile(r"'(?:[]:,}>-]|<[a-z ]+>)'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (options.repo / "feature_store.yaml").is_file():
        parser.error(f"there is no feature_store.yaml in {options.repo}")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _failed("interrupted")
    except BrokenPipeError:
        # Whoever reads has enough, as `head` has; nor is the rest to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ArgumentError as error:
        usage: argparse.ArgumentParser = options.usage
        usage.error(str(error))
    except Exception as error:
        if options.debug:
            if all(isinstance(one, FeastRsError) for one in _chain(error)):
                raise
            _print_frames(error)
        return _failed(_told(error))


def _failed(what: str) -> int:
    print(f"feast-rs: {what}", file=sys.stderr)
    return FAILED


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what led to it, the last first."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        yield following
        seen.append(following)
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _print_frames(error: BaseException) -> None:
    """A traceback of where, without the errors' own words, which may quote secrets."""
    for one in reversed(list(_chain(error))):
        print("Traceback (most recent call last):", file=sys.stderr)
        print("".join(traceback.format_tb(one.__traceback__)), end="", file=sys.stderr)
        print(f"{type(one).__module__}.{type(one).__qualname__}\n", file=sys.stderr)


def _told(error: Exception) -> str:
    """An error in one line. Feast's own quote feature_store.yaml, where passwords are, and as it
    is once the environment's variables are in it."""
    import yaml  # type: ignore[import-untyped, unused-ignore]
    from pydantic import ValidationError

    from feast_rs.diagnosis import wording

    if isinstance(error, FeastRsError):
        return wording.error(error)
    for one in _chain(error):
        if isinstance(one, yaml.YAMLError):
            return f"feature_store.yaml: {_told_of_yaml(one)}"
        if isinstance(one, ValidationError):
            return f"feature_store.yaml: {'; '.join(_told_of_settings(one))}"
    return wording.error(error)


def _told_of_yaml(error: Exception) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    what = _QUOTED.sub(
        lambda quoted: quoted[0] if _EXPECTED.fullmatch(quoted[0]) else "...",
        str(problem or "it is no YAML"),
    )
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return (
        f"{where}{what} (the line is not shown, as it may hold a secret; quote what comes from the "
        "environment, as in '${NAME}')"
    )


def _told_of_settings(error: ValidationError) -> Iterator[str]:
    from pydantic import ValidationError

    for line in error.errors(include_url=False, include_input=False):
        cause = line.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):
            yield from _told_of_settings(cause)
        else:
            yield ": ".join(filter(None, [".".join(map(str, line["loc"])), line["msg"]]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="feast-rs", description="Feast's online path on Redis, in Rust.", epilog=_EXIT_CODES
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_doctor(commands)
    _add_migrate_keys(commands)
    return parser


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    """A command on a feature repository."""
    parser = commands.add_parser(name, help=summary, description=description, epilog=_EXIT_CODES)
    parser.add_argument(
        "repo", type=Path, metavar="REPO", help="the directory that has feature_store.yaml"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--debug", action="store_true", help="show an error's traceback")
    return parser


def _store(repo: Path) -> FeatureStore:
    from feast import FeatureStore

    with warnings.catch_warnings():
        # Whoever migrates knows that version 2 is to be left, and the doctor says it.
        warnings.filterwarnings("ignore", "The serialization version below 3")
        return FeatureStore(repo_path=str(repo))


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(
        commands,
        "doctor",
        "examine the servers, the configuration, and what is stored",
        "Examines configuration, servers and a sample of what is stored, compares them with the "
        "registry, and says what to do about each finding. It reads only, and shows no secret. "
        "It fails if something is found that is worse than a warning.",
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=200,
        metavar="N",
        help="hashes of each primary to look at (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long each step may take (default: %(default)s)",
    )
    parser.set_defaults(run=_doctor, usage=parser)


def _doctor(options: argparse.Namespace) -> int:
    from feast_rs.diagnosis import diagnose

    diagnosis = diagnose(_store(options.repo), sample=options.sample, timeout=options.timeout)
    print(json.dumps(diagnosis.to_dict(), indent=2) if options.json else diagnosis.to_text())
    return DONE if diagnosis.is_healthy else FAILED


def _add_migrate_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(
        commands,
        "migrate-keys",
        "copy entity keys of version 2 to version 3",
        "Copies what is stored under entity keys of version 2 to keys of version 3, while the "
        "deployment runs. Newer data is never overwritten, old keys stay unless --delete is "
        "given, and it can be run again at any time.",
    )
    parser.add_argument("--dry-run", action="store_true", help="count only, write nothing")
    parser.add_argument(
        "--delete",
        action="store_true",
        help="delete each old key after its copy was read back and compared; only once "
        "feature_store.yaml says version 3, everywhere",
    )
    parser.add_argument(
        "--view",
        action="append",
        dest="views",
        metavar="NAME",
        help="migrate only the keys of this feature view's entities; may be repeated",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1000,
        metavar="N",
        help="keys that are migrated together (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="N",
        help="keys a second to look at, at the most (default: no limit)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep in FILE how far the run has come, and go on from there if FILE is there; it is "
        "deleted at the end; not with --dry-run",
    )
    parser.set_defaults(run=_migrate_keys, usage=parser)


def _migrate_keys(options: argparse.Namespace) -> int:
    from feast_rs.key_migration import migrate_keys

    report = migrate_keys(
        _store(options.repo),
        dry_run=options.dry_run,
        delete=options.delete,
        views=options.views,
        batch_size=options.batch_size,
        rate=options.rate,
        state=options.state,
    )
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.to_text())
    return DONE if report.is_clean else FAILED


if __name__ == "__main__":
    sys.exit(main())
