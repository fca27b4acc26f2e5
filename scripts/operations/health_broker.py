"""Judges what Kafka answers: its brokers, each topic, and how far each group is behind."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from common.topics.differences import Difference
from scripts.operations.health_rows import Row, State
from scripts.operations.health_services import BROKER, MOST_LAG

#: The groups, by the service whose replicas are their members, and the topic that each reads.
GROUPS: Mapping[str, str] = {"kalman-filter-service": "ticks", "garch-volatility-service": "hedge-ratio-closes"}


class Group(NamedTuple):
    """A consumer group as the broker knows it."""

    name: str
    state: str
    members: int
    #: Records by partition that are there and not committed.
    lag: Mapping[int, int]


def broker_row(brokers: int, problem: str, needs: tuple[str, ...]) -> Row:
    """Whether Kafka answers; without it nothing works."""
    state, text = (State.DOWN, problem) if problem else (State.OK, f"{brokers} broker{'s' if brokers != 1 else ''}")
    return Row("kafka", "broker", state, text, needs)


def topic_rows(names: Sequence[str], differences: Sequence[Difference], problem: str) -> list[Row]:
    """A row for each topic: there, and as it is defined."""
    return [_topic_row(name, [each for each in differences if each.topic == name], problem) for name in names]


def _topic_row(name: str, differences: Sequence[Difference], problem: str) -> Row:
    if problem:
        return Row("topic", name, State.DEGRADED, f"not known: {problem}", (BROKER,))
    if differences:
        text = f"{'; '.join(map(str, differences))}: run docker compose run --rm --no-deps topics"
        return Row("topic", name, State.DEGRADED, text, (BROKER,))
    return Row("topic", name, State.OK, "as defined", (BROKER,))


def group_row(service: str, group: Group | None, problem: str, replicas: Sequence[str]) -> Row:
    """How far a group is behind; `replicas` are the keys of the rows of those who should be its members."""
    needs = (BROKER, f"topic {GROUPS[service]}", *replicas)
    if problem or group is None:
        return Row("group", service, State.DEGRADED, f"not known: {problem or 'the broker has no such group'}", needs)
    behind = sum(group.lag.values())
    if not group.members:
        return Row("group", service, State.DEGRADED, f"has no members ({group.state}), {behind} records behind", needs)
    text = f"{group.members} member{'s' if group.members != 1 else ''}, {behind} records behind on {GROUPS[service]}"
    if behind > MOST_LAG:
        return Row("group", service, State.DEGRADED, f"{text}, {MOST_LAG} is the limit: add replicas or look for a slow one", needs)
    return Row("group", service, State.OK, text, needs)
