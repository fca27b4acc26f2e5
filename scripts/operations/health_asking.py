"""Asks the servers of the stack, from within its network; whatever goes wrong is an answer too."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka._model import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from common.errors import ConfigurationError, TransportError
from common.io.kafka_security import security_settings
from common.io.kafka_settings import connection_settings
from common.io.kafka_topics import TopicAdmin
from common.io.logs import redact_text
from common.io.registry import redis_client
from common.settings import Settings
from common.topics import ALL_TOPICS
from common.topics.differences import Difference, differences
from common.topics.layout import Layout, specs_of
from scripts.operations.health_broker import GROUPS, Group
from scripts.operations.health_services import Answer

#: What does not answer by then counts as away, s.
ANSWER_S = 4.0
_GRAFANA_PASSWORD = Path("/run/secrets/grafana_admin_password")
_REGISTRY = "crypto-bot:service:"


def ask(address: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """One GET; JSON where the answer is JSON, else text."""
    request = urllib.request.Request(f"http://{address}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:  # noqa: S310 - as above
            return Answer(response.status, _decoded(response.read()), "")
    except urllib.error.HTTPError as error:
        return Answer(error.code, _decoded(error.read()), f"{path} answers {error.code}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Answer(0, None, f"{path} does not answer ({reason or type(error).__name__})")


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def ask_grafana(path: str) -> Answer:
    """As the administrator where there is a password, else as anybody."""
    if not _GRAFANA_PASSWORD.exists():
        return ask("grafana:3000", path)
    login = f"admin:{_GRAFANA_PASSWORD.read_text(encoding='utf-8').strip()}"
    return ask("grafana:3000", path, {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"})


# --- Kafka ------------------------------------------------------------------------------------------------------------


class Broker:
    """What a cluster says."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError and TransportError when it cannot be asked."""
        self._settings = settings
        connection = connection_settings(settings.kafka_bootstrap_servers, "health-check", security_settings(settings))
        self._admin = TopicAdmin(connection)
        self._client = AdminClient(connection)
        try:
            self.brokers = len(self._client.list_topics(timeout=ANSWER_S).brokers)
        except KafkaException as error:
            raise TransportError(f"no Kafka at {settings.kafka_bootstrap_servers} ({error.args[0].str()})") from error

    def differences(self) -> list[Difference]:
        """In what the topics differ from their definition."""
        settings = self._settings
        specs = specs_of(ALL_TOPICS, Layout(settings.topic_partitions, settings.kafka_disk_gb, settings.topic_replication, settings.topic_prefix))
        return differences(specs, self._admin.found([spec.name for spec in specs]))

    def group(self, service: str) -> Group:
        """A service's group and how far it is behind; raises TransportError."""
        name = f"{self._settings.topic_prefix}crypto-bot-{service}"
        topic = f"{self._settings.topic_prefix}{GROUPS[service]}"
        try:
            about = self._client.describe_consumer_groups([name], request_timeout=ANSWER_S)[name].result(ANSWER_S)
            answers = self._client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=ANSWER_S)
            committed = {place.partition: place.offset for place in answers[name].result(ANSWER_S).topic_partitions if place.topic == topic}
            ends = self._offsets(topic, committed, _spec(OffsetSpec.latest))
            oldest = self._offsets(topic, committed, _spec(OffsetSpec.earliest))
        except KafkaException as error:
            raise TransportError(error.args[0].str()) from error
        lag = {number: max(0, ends[number] - max(offset, oldest[number])) for number, offset in committed.items()}
        return Group(name, about.state.name.lower(), len(about.members), lag)

    def _offsets(self, topic: str, partitions: Mapping[int, int], spec: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(topic, number): spec for number in partitions}
        if not asked:
            return {}
        return {place.partition: found.result(ANSWER_S).offset for place, found in self._client.list_offsets(asked, request_timeout=ANSWER_S).items()}


def _spec(make: Any) -> OffsetSpec:
    """Untyped in the library."""
    made: OffsetSpec = make()
    return made


def ask_broker(settings: Settings) -> tuple[Broker | None, str]:
    """The cluster, or why there is none; a broker that has just started is given a moment."""
    give_up_at = time.monotonic() + ANSWER_S
    while True:
        try:
            return Broker(settings), ""
        except ConfigurationError as error:
            return None, "; ".join(error.problems)
        except TransportError as error:
            if time.monotonic() > give_up_at:
                return None, str(error)


# --- Redis ------------------------------------------------------------------------------------------------------------


def ask_redis(settings: Settings) -> tuple[dict[str, Any], list[str], str]:
    """What Redis says of itself, who is registered as `service:instance`, and what is wrong."""
    try:
        client = redis_client(settings.redis_url, settings.redis_password, settings.redis_ca_file)
        if client is None:
            return {}, [], "REDIS_URL is empty"
        about: Any = client.info()
        return dict(about), list(_registered(client)), ""
    except ConfigurationError as error:
        return {}, [], "; ".join(error.problems)
    except Exception as error:  # noqa: BLE001 - whatever Redis or its client does, it is what we are to tell
        return {}, [], redact_text(f"does not answer ({type(error).__name__}: {error})")


def _registered(client: Any) -> Iterator[str]:
    for key in client.scan_iter(match=f"{_REGISTRY}*", count=1000):
        yield key.decode().removeprefix(_REGISTRY)
