"""What a broker lacks is named, with what may be done about it."""

import pytest

from common.topics import TICKS
from common.topics.differences import FoundTopic, Remedy, differences
from common.topics.layout import Layout, specs_of

SPEC = specs_of([TICKS], Layout(6, 3))[0]


def found(partitions: int = 6, replication: int = 1, **changes: str) -> FoundTopic:
    return FoundTopic(partitions, replication, {**SPEC.config, "flush.ms": "1", **{name.replace("_", "."): value for name, value in changes.items()}})


def test_what_is_as_defined_differs_in_nothing() -> None:
    """Settings that are not defined here are the broker's own affair."""
    assert differences([SPEC], {SPEC.name: found()}) == []


def test_a_missing_topic_is_made() -> None:
    """A topic that is not there is to be created."""
    (difference,) = differences([SPEC], {})
    assert (str(difference), difference.remedy) == ("ticks: topic expected 6 partitions, found none", Remedy.CREATE)


def test_settings_are_changed() -> None:
    """A setting is told with name, expected and found."""
    (difference,) = differences([SPEC], {SPEC.name: found(retention_ms="1")})
    assert (str(difference), difference.remedy) == ("ticks: retention.ms expected 86400000, found 1", Remedy.CHANGE)


@pytest.mark.parametrize(
    ("has", "why"),
    [
        (found(partitions=8), "ticks: partitions expected 6, found 8 (partitions are never taken away"),
        (found(partitions=4), "ticks: partitions expected 6, found 4 (pairs would move to other partitions"),
        (found(replication=2), "ticks: replication expected 1, found 2 (copies are moved by"),
    ],
)
def test_what_would_lose_something_is_refused(has: FoundTopic, why: str) -> None:
    """Neither fewer nor more partitions nor other copies are made of a topic that is there."""
    (difference,) = differences([SPEC], {SPEC.name: has})
    assert str(difference).startswith(why)
    assert difference.remedy is Remedy.REFUSE
