"""Whether the stored keys are those that reads ask for."""

from __future__ import annotations

from collections import Counter

from feast_rs.diagnosis import wording
from feast_rs.diagnosis.definitions import Definitions
from feast_rs.diagnosis.findings import Findings
from feast_rs.diagnosis.keys import VERSIONS, KeyCensus, OwnKeys


def examine_keys(
    census: KeyCensus,
    definitions: Definitions,
    version: int,
    project: str,
    complete: bool,
    found: Findings,
) -> None:
    """Project, version and types. `complete` tells whether all keys were seen."""
    _examine_project(census, definitions, project, complete, found)
    _examine_version(census, version, found)
    agreeing = 0
    for own in census.own.values():
        if own.version != version:
            continue
        if own.is_registered:
            agreeing += _examine_types(own, definitions, found)
        elif definitions.are_known:
            found.warning(
                "join-keys",
                ", ".join(own.join_keys),
                f"{wording.count(len(own.keys), 'sampled key')} of this project have these join "
                "keys, and no feature view has",
                "If a view was removed or its entities renamed, delete these keys; else run feast "
                "apply with its definition.",
            )
    if agreeing:
        kinds = wording.count(agreeing, "set")
        found.ok("join-key-type", None, f"the keys of {kinds} of join keys have the declared types")


def _examine_project(
    census: KeyCensus, definitions: Definitions, project: str, complete: bool, found: Findings
) -> None:
    others = {
        name: count
        for name, count in census.others.items()
        if name in definitions.other_projects or name.isidentifier() or count > 1
    }
    own = sum(map(census.count, VERSIONS))
    if own:
        found.ok("project", None, f"{wording.count(own, 'sampled key')} of project {project}")
        if others:
            found.info(
                "project", None, f"other projects share these servers: {wording.names(others)}"
            )
        return
    seen = "there is no key" if complete else "among the keys that were seen is none"
    if others:
        what = f"{seen} of project {project}, and there are keys of {wording.names(others)}"
        advice = (
            "Set project to the name that the writers have, or materialize with this one; keys "
            "end in the project's name."
        )
    else:
        what = f"{seen} of project {project}"
        advice = "Materialize, and see that the writers use these servers and this database (db)."
    is_materialized = any(view.is_materialized for view in definitions.views.values())
    if is_materialized:
        what = f"{what}, though views were materialized"
    if is_materialized and complete:
        found.error("project", None, what, advice)
    elif is_materialized or others:
        found.warning("project", None, what, advice)
    else:
        found.info("project", None, what, advice)


def _examine_version(census: KeyCensus, version: int, found: Findings) -> None:
    (other,) = (known for known in VERSIONS if known != version)
    right, wrong = census.count(version), census.count(other)
    if not wrong:
        if right:
            found.ok("key-version", None, f"the keys are of version {version}, as configured")
        return
    if not right:
        what = (
            f"all {wrong} sampled keys are of version {other}, and "
            f"entity_key_serialization_version is {version}: reads find nothing"
        )
        advice = (
            "Run python -m feast_rs migrate-keys, or set entity_key_serialization_version: 2 "
            "until it has run."
            if other == 2
            else "Set entity_key_serialization_version: 3."
        )
        found.error("key-version", None, what, advice)
        return
    what = (
        f"{wrong} of {wrong + right} sampled keys are of version {other}, which reads with version "
        f"{version} do not find"
    )
    advice = (
        "Run python -m feast_rs migrate-keys, and once all writers use version 3, with --delete."
        if other == 2
        else "Set entity_key_serialization_version: 3 wherever the migration is done."
    )
    found.warning("key-version", None, what, advice)


def _examine_types(own: OwnKeys, definitions: Definitions, found: Findings) -> bool:
    """Whether the join keys' values are of the declared types."""
    agrees = True
    declared = definitions.key_types[own.join_keys]
    total = sum(own.types.values())
    for at, key in enumerate(own.join_keys):
        wanted = declared.get(key)
        if not wanted:
            continue
        stored: Counter[str] = Counter()
        for types, count in own.types.items():
            stored[types[at]] += count
        wrong = {name: count for name, count in stored.items() if name not in wanted}
        if not wrong:
            continue
        agrees = False
        listed = ", ".join(f"{count} {name}" for name, count in sorted(wrong.items()))
        type_names = " and ".join(sorted(wanted))
        what = (
            f"of {total} sampled keys of {', '.join(own.join_keys)} the values are {listed}, and "
            f"{type_names} is declared: reads do not find them, without an error"
        )
        advice = (
            f"Have the writers send {key} as {type_names} and materialize again, or declare the "
            "entity's value_type and the field's dtype as what is stored."
        )
        if sum(wrong.values()) == total:
            found.error("join-key-type", key, what, advice)
        else:
            found.warning("join-key-type", key, what, advice)
    return agrees
