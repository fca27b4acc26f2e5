"""The disk is shared out so that everything fits, for every number of partitions that is offered."""

import pytest

from common.errors import ConfigurationError
from common.io.kafka_settings import connection_settings, producer_settings
from common.io.limits import MAX_RECORD_BYTES
from common.topics import ALL_TOPICS, COMMANDS, DEAD_LETTERS, EXECUTIONS, KALMAN_STATE, TICKS, Retention
from common.topics.layout import GIGABYTE, LEAST_SEGMENT_BYTES, MAX_MESSAGE_BYTES, Layout, TopicSpec, specs_of

_HOUR_MS = 3_600_000


def by_name(specs: list[TopicSpec]) -> dict[str, TopicSpec]:
    return {spec.name: spec for spec in specs}


@pytest.mark.parametrize("disk_gb", [3, 20])
@pytest.mark.parametrize("partitions", range(1, 49))
def test_everything_fits_the_disk(disk_gb: int, partitions: int) -> None:
    """Partitions times retention and one active segment, over all topics, stay below the limit with a tenth to spare, and use it."""
    specs = specs_of(ALL_TOPICS, Layout(partitions, disk_gb))
    total = sum(
        spec.partitions
        * (int(spec.config["retention.bytes"]) + int(spec.config["segment.bytes"]) if "retention.bytes" in spec.config else spec.partition_bytes)
        for spec in specs
    )
    assert total == sum(spec.total_bytes for spec in specs)
    assert 0.89 * disk_gb * GIGABYTE < total <= 0.9 * disk_gb * GIGABYTE
    assert {spec.name: spec.partitions for spec in specs} == {topic.name: partitions if topic.per_pair else 1 for topic in ALL_TOPICS}


@pytest.mark.parametrize("partitions", [1, 6, 48])
def test_a_segment_holds_the_largest_batch(partitions: int) -> None:
    """No record that a producer lets through is refused by a topic or fits no segment."""
    sent = producer_settings(connection_settings("localhost:9092", "test"))["message.max.bytes"]
    assert MAX_RECORD_BYTES < sent < MAX_MESSAGE_BYTES < LEAST_SEGMENT_BYTES
    for spec in specs_of(ALL_TOPICS, Layout(partitions, 3)):
        assert int(spec.config["max.message.bytes"]) == MAX_MESSAGE_BYTES < int(spec.config["segment.bytes"])
        assert 2 * int(spec.config["segment.bytes"]) <= spec.partition_bytes


def test_what_cannot_fit_is_refused() -> None:
    """Too little disk for so many partitions is said with the least that would do, and that much is taken."""
    with pytest.raises(ConfigurationError, match=r"387 partitions of 11 topics do not fit into 1 GB, the least is 1\.80 GB: raise KAFKA_DISK_GB"):
        specs_of(ALL_TOPICS, Layout(48, 1))
    assert specs_of(ALL_TOPICS, Layout(48, 1.81))


def test_ages_follow_the_kind_of_record() -> None:
    """Market data live a day, what is traded and commanded a month, dead letters two weeks."""
    specs = by_name(specs_of(ALL_TOPICS, Layout(6, 3)))
    hours = {name: int(spec.config["retention.ms"]) // _HOUR_MS for name, spec in specs.items() if "retention.ms" in spec.config}
    assert (hours[TICKS.name], hours[EXECUTIONS.name], hours[COMMANDS.name], hours[DEAD_LETTERS.name]) == (24, 720, 720, 336)
    assert all(int(spec.config["segment.ms"]) * 4 <= int(spec.config["retention.ms"]) for spec in specs.values() if "retention.ms" in spec.config)


def test_states_are_really_compacted() -> None:
    """State topics delete by key only, and their segments close soon enough to be compacted at all."""
    for topic, spec in zip(ALL_TOPICS, specs_of(ALL_TOPICS, Layout(6, 20)), strict=True):
        assert (spec.config["cleanup.policy"] == "compact") == (topic.retention is Retention.COMPACTED)
    config = by_name(specs_of(ALL_TOPICS, Layout(6, 20)))[KALMAN_STATE.name].config
    assert {name: config[name] for name in ("min.cleanable.dirty.ratio", "segment.ms", "delete.retention.ms")} == {
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "600000",
        "delete.retention.ms": "86400000",
    }
    assert int(config["segment.bytes"]) <= 16 * 1024 * 1024


def test_copies_are_acknowledged_by_all_but_one() -> None:
    """Three copies go on with two; names carry the prefix."""
    spec = specs_of([TICKS], Layout(6, 3, replication=3, prefix="one-"))[0]
    assert (spec.name, spec.replication, spec.config["min.insync.replicas"]) == ("one-ticks", 3, "2")
