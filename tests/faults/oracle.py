"""Which answers are right while rows change and servers fail.

An entity's rows are numbered by its stamp, which only one writer raises; all features and the event
time of a row follow from its stamp (`tests.support.races`). So a value tells which write it is of,
a half-written row shows, and an answer is right if its stamp lies between two others:

- the newest that was acknowledged before the read began: the floor,
- the newest that a write was begun with before the read ended.

What is not acknowledged, a write that failed or is under way, may be seen or not. One that failed
may even be seen late, after a newer row: a network can deliver it after the next one. Redis then
lets the last one stand, unless the store writes with `atomic_writes`, where the newest row wins.
So an entity of a plain writer may answer with a stamp whose write failed, below the floor.

Redis itself forgets acknowledged writes when it promotes a replica that has not had them, and for
moments has two primaries of which one is to forget what it takes. The first is excluded: a stamp
counts as acknowledged when the replicas have it, too (WAIT). The second is for the tests to say:
in a span that is `doubtful` no floor is raised and none is asked of reads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.races import features_of, time_of

WHOLE = (*features_of(0), *(f"{name}__ts" for name in features_of(0)))


class Oracle:
    """Knows of each entity what was written, and judges what is read.

    Each entity is to be written once before anything is read. With `fresh=False` reads may be of
    replicas, which are behind: then there is no floor.
    """

    def __init__(self, entities: int, fresh: bool = True) -> None:
        self.fresh = fresh
        self._issued = [0] * entities
        self._floors = [0] * entities
        self._failed: list[set[int]] = [set() for _ in range(entities)]
        self._lock = threading.Lock()
        self._doubtful = False
        self._doubts = 0

    def doubt(self, doubtful: bool) -> None:
        """Begins or ends a span in which Redis may forget and may answer from the past."""
        with self._lock:
            self._doubtful = doubtful
            self._doubts += doubtful

    def doubts(self) -> int | None:
        """The number of doubtful spans until now; None within one."""
        with self._lock:
            return None if self._doubtful else self._doubts

    def issue(self, entities: Sequence[int]) -> list[tuple[int, int]]:
        """The rows, entity and stamp, that the entities' writer is about to write."""
        for entity in entities:
            self._issued[entity] += 1
        return [(entity, self._issued[entity]) for entity in entities]

    def acknowledge(self, rows: Sequence[tuple[int, int]], doubts: int | None) -> None:
        """Raises the floors; `doubts` is of before the write."""
        with self._lock:
            if not self._doubtful and doubts == self._doubts:
                for entity, stamp in rows:
                    self._floors[entity] = stamp
                return
        self.fail(rows)

    def fail(self, rows: Sequence[tuple[int, int]], may_come_late: bool = True) -> None:
        """Takes note that nobody knows what became of these rows."""
        if may_come_late:
            for entity, stamp in rows:
                self._failed[entity].add(stamp)

    def floors(self, entities: Sequence[int]) -> list[int]:
        """The stamps below which a read that begins now must not answer."""
        return [self._floors[entity] for entity in entities]

    def faults(
        self,
        entities: Sequence[int],
        answer: Mapping[str, Sequence[Any]],
        floors: Sequence[int],
        doubts: int | None,
    ) -> list[str]:
        """What is wrong with an answer to a read that began with these floors and doubts."""
        fresh = self.fresh and doubts is not None and doubts == self.doubts()
        found = []
        if list(answer["driver_id"]) != list(entities):
            return [f"asked for {entities}, answered {answer['driver_id']}"]
        for place, (entity, floor) in enumerate(zip(entities, floors, strict=True)):
            row = {name: answer[name][place] for name in WHOLE}
            stamp = row["trips"]
            if stamp is None:
                found.append(f"entity {entity}: null, though written before")
            elif row != whole(stamp):
                found.append(f"entity {entity}: parts of several rows: {row}")
            elif not 0 <= stamp <= self._issued[entity]:
                found.append(f"entity {entity}: row {stamp}, which nobody wrote")
            elif fresh and stamp < floor and stamp not in self._failed[entity]:
                found.append(f"entity {entity}: row {stamp} after row {floor} was acknowledged")
        return found


def whole(stamp: int) -> dict[str, Any]:
    """All that is answered of a row."""
    features = features_of(stamp)
    seconds = int(time_of(stamp).timestamp())
    return {**features, **{f"{name}__ts": seconds for name in features}}
