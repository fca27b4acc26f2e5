"""Topics of a real broker: asked for, made, changed, deleted. librdkafka's mock broker knows none of these requests."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from common.errors import ConfigurationError, TransportError
from common.io.kafka_security import Troubles, await_cluster
from common.io.kafka_settings import LOGGER
from common.topics.differences import Difference, FoundTopic, Remedy, differences
from common.topics.layout import TopicSpec

REQUEST_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 0.05


class TopicAdmin:
    """A cluster's topics."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._bootstrap_servers = connection["bootstrap.servers"]
        self._troubles = Troubles()
        settings: dict[str, Any] = {**connection, "error_cb": self._troubles.note}
        self._client = AdminClient(settings, logger=LOGGER)

    def found(self, names: Iterable[str]) -> dict[str, FoundTopic]:
        """Those of these topics that are there."""
        described = self._described()
        there = {name: described[name] for name in names if name in described and described[name].error is None}
        configs = self._configs(there)
        return {
            name: FoundTopic(len(topic.partitions), max((len(partition.replicas) for partition in topic.partitions.values()), default=0), configs[name])
            for name, topic in there.items()
            if name in configs
        }

    def apply(self, specs: Sequence[TopicSpec]) -> list[Difference]:
        """Make and change topics until they are as specified; returns what was done.

        Two may do this at once. Raises ConfigurationError, before anything is changed, when there is a difference that is refused.
        """
        names = [spec.name for spec in specs]
        before = differences(specs, self.found(names))
        _require_possible(before)
        self._create([spec for spec in specs if any(each.topic == spec.name and each.remedy is Remedy.CREATE for each in before)])
        left = self._differences_without(Remedy.CREATE, specs)
        _require_possible(left)
        if left:
            self._change(left)
            self._differences_without(Remedy.CHANGE, specs)
        return before

    def delete(self, names: Sequence[str]) -> None:
        """Delete topics with all they hold; those that are not there are no error."""
        for name, future in self._client.delete_topics(list(names), request_timeout=REQUEST_TIMEOUT_S).items():
            self._result(future, f"topic {name} cannot be deleted", KafkaError.UNKNOWN_TOPIC_OR_PART)

    def _create(self, specs: Sequence[TopicSpec]) -> None:
        if not specs:
            return
        wanted = [NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config)) for spec in specs]
        for name, future in self._client.create_topics(wanted, request_timeout=REQUEST_TIMEOUT_S).items():
            self._result(future, f"topic {name} cannot be created", KafkaError.TOPIC_ALREADY_EXISTS)

    def _differences_without(self, remedy: Remedy, specs: Sequence[TopicSpec]) -> list[Difference]:
        """What differs once nothing does that was just mended: a broker answers before it shows what was done."""
        give_up_at = time.monotonic() + REQUEST_TIMEOUT_S
        while True:
            found = differences(specs, self.found([spec.name for spec in specs]))
            late = [str(each) for each in found if each.remedy is remedy]
            if not late:
                return found
            if time.monotonic() > give_up_at:
                raise TransportError(f"done, but the broker does not show it: {'; '.join(late)}")
            time.sleep(_LOOK_AGAIN_S)

    def _change(self, changes: Sequence[Difference]) -> None:
        """All settings of a topic in one request."""
        resources: dict[str, ConfigResource] = {}
        for topic, setting, expected, *_ in changes:
            entry = ConfigEntry(setting, expected, incremental_operation=AlterConfigOpType.SET)
            resources.setdefault(topic, ConfigResource(ResourceType.TOPIC, topic)).add_incremental_config(entry)
        if not resources:
            return
        for resource, future in self._client.incremental_alter_configs(list(resources.values()), request_timeout=REQUEST_TIMEOUT_S).items():
            self._result(future, f"settings of topic {resource.name} cannot be changed")

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        found = {}
        for resource, future in self._client.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S).items():
            entries = self._result(future, f"settings of topic {resource.name} cannot be asked for", KafkaError.UNKNOWN_TOPIC_OR_PART)
            if entries is not None:
                found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    def _described(self) -> dict[str, Any]:
        topics: dict[str, Any] = await_cluster(self._client, self._troubles, self._bootstrap_servers, REQUEST_TIMEOUT_S).topics
        return topics

    def _result(self, future: Any, problem: str, harmless: int | None = None) -> Any:
        """Wait for an answer; None for an error that is harmless."""
        try:
            return future.result(REQUEST_TIMEOUT_S + 1)
        except KafkaException as error:
            if error.args[0].code() == harmless:
                return None
            raise TransportError(f"{problem}: {error.args[0].str()}") from error


def _require_possible(found: Sequence[Difference]) -> None:
    if refused := [str(each) for each in found if each.remedy is Remedy.REFUSE]:
        raise ConfigurationError(refused)
