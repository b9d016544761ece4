"""Which prediction a label is joined to, against a log of everything that was ever predicted."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd
import pytest

import sqlml
from sqlml.catalog import records
from sqlml.labelling import NEVER_PREDICTED, PREDICTED_LATER
from sqlml.labels.reading import NOT_ACTIVE
from tests.labels.conftest import NUMBER, START, Staged

KEYS = range(6)


@dataclass
class World:
    """What happened, as a person with a perfect memory would know it."""

    active: list[tuple[datetime, int | None]] = field(default_factory=list)
    predicted: list[tuple[datetime, int, int, float]] = field(default_factory=list)  # when, version, key, what

    def active_at(self, moment: datetime) -> int | None:
        known = [version for since, version in self.active if since <= moment]
        return known[-1] if known else None

    def current_at(self, moment: datetime, key: int) -> float | None:
        version = self.active_at(moment)
        known = [what for when, v, k, what in self.predicted if v == version and k == key and when <= moment]
        return known[-1] if known else None

    def is_still_stored(self, moment: datetime, key: int) -> bool:
        version = self.active_at(moment)
        return not any(v == version and k == key and when > moment for when, v, k, _ in self.predicted)


@pytest.mark.parametrize("seed", range(3))
def test_every_label_has_the_prediction_of_its_moment_or_none(staged: Staged, seed: int) -> None:
    """Versions come, go back and go; predictions are overwritten; labels come late, again and in between."""
    rng, world = random.Random(seed), World()
    versions = [staged.version(NUMBER, active_since=None) for _ in range(3)]
    began, labelled, seen = records.now(), {}, set()
    for step in range(32):
        now = records.now()
        roll = rng.random()
        if roll < 0.55:
            version, key = rng.choice(versions), rng.choice(KEYS)
            staged.predict(version, [{"id": key, "prediction": float(step), "scored_at": now}])
            world.predicted.append((now, version.version, key, float(step)))
        elif roll < 0.75:
            number = rng.choice([1, 2, 3, 3, None])
            staged.activate(number, now, action="undeploy" if number is None else rng.choice(["activate", "rollback"]))
            world.active.append((now, number))
        elif world.active:
            events = {(rng.choice(KEYS), began + (now - began) * rng.random()) for _ in range(12)}
            events |= set(rng.sample(sorted(labelled), min(4, len(labelled))))
            done = label(staged, events)
            for key, at in events:
                expected = world.current_at(at, key)
                if (key, at) in labelled or (expected is not None and world.is_still_stored(at, key)):
                    labelled[key, at] = expected
            seen |= events
            assert done.read == done.added + done.unchanged + sum(done.left_out.values())
    rows = staged.rows("SELECT id, observed_at, prediction, deployment_version FROM m.labels") if labelled else []
    for key, at, prediction, version in rows:
        assert (version, prediction) == (world.active_at(at), world.current_at(at, key))
    assert len({row[:2] for row in rows}) == len(rows)
    assert set(labelled) <= {row[:2] for row in rows} <= seen
    assert labelled


def label(staged: Staged, events: set[tuple[int, datetime]], value: float = 1.0) -> sqlml.Labelled:
    frame = pd.DataFrame(sorted(events), columns=["id", "seen"]).assign(y=value)
    frame["seen"] = frame["seen"].astype("datetime64[us]")
    staged.source(frame)
    return sqlml.label(staged.connection, "m", "outcomes", label="y", at="seen")


HOUR = timedelta(hours=1)


def test_a_prediction_made_after_the_label_is_never_taken(staged: Staged) -> None:
    version = staged.version(NUMBER)
    staged.predict(version, [{"id": 1, "prediction": 7.0, "scored_at": START + 2 * HOUR}])

    done = label(staged, {(1, START + HOUR), (2, START + HOUR), (1, START - HOUR), (1, START + 2 * HOUR)})

    assert done.left_out == {PREDICTED_LATER: 1, NEVER_PREDICTED: 1, NOT_ACTIVE: 1}
    assert staged.rows("SELECT id, observed_at FROM m.labels") == [(1, START + 2 * HOUR)]  # the very moment counts


def test_a_label_goes_to_the_version_that_was_active_and_not_to_a_newer_one(staged: Staged) -> None:
    first = staged.version(NUMBER)
    second = staged.version(NUMBER, active_since=None)
    for version, value in ((first, 1.0), (second, 2.0)):
        staged.predict(version, [{"id": 1, "prediction": value, "scored_at": START}])
    staged.activate(2, START + 10 * HOUR)
    staged.activate(1, START + 20 * HOUR, action="rollback")

    label(staged, {(1, START + hours * HOUR) for hours in (5, 10, 15, 25)})

    found = staged.rows("SELECT deployment_version, prediction FROM m.labels ORDER BY observed_at")
    assert found == [(1, 1.0), (2, 2.0), (2, 2.0), (1, 1.0)]


def test_a_correction_after_a_new_scoring_keeps_the_prediction_of_then(staged: Staged) -> None:
    version = staged.version(NUMBER)
    staged.predict(version, [{"id": 1, "prediction": 1.0, "scored_at": START}])
    label(staged, {(1, START + HOUR)})
    staged.predict(version, [{"id": 1, "prediction": 2.0, "scored_at": records.now()}])

    done = label(staged, {(1, START + HOUR)}, value=5.0)
    later = label(staged, {(1, START + 2 * HOUR), (1, records.now())})

    assert (done.added, done.corrected) == (0, 1)
    assert (later.added, later.left_out) == (2, {})
    found = staged.rows("SELECT label, revision, prediction FROM m.labels ORDER BY observed_at")
    assert found == [(5.0, 2, 1.0), (1.0, 1, 1.0), (1.0, 1, 2.0)]
    assert staged.rows("SELECT label, revision FROM m.labels_v1 WHERE revision < 3 ORDER BY ALL LIMIT 2") == [
        (1.0, 1),
        (1.0, 1),
    ]


def test_what_a_correction_kept_is_not_taken_for_what_was_current_since(staged: Staged) -> None:
    version = staged.version(NUMBER)
    staged.predict(version, [{"id": 1, "prediction": 1.0, "scored_at": START}])
    label(staged, {(1, START + HOUR)})
    staged.predict(version, [{"id": 1, "prediction": 2.0, "scored_at": records.now()}])
    between = records.now()
    label(staged, {(1, START + HOUR)}, value=5.0)
    staged.predict(version, [{"id": 1, "prediction": 3.0, "scored_at": records.now()}])

    done = label(staged, {(1, between)})

    assert done.left_out == {PREDICTED_LATER: 1}  # 2.0 was current then, and nothing has kept it
