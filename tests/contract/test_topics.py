"""Topics are made from their definition, by one command, on a real broker."""

import json
import threading
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from common.errors import ConfigurationError
from common.io.kafka import KafkaTransport
from common.io.kafka_settings import connection_settings
from common.io.kafka_topics import TopicAdmin
from common.io.mock_broker import MockBroker
from common.topics import ALL_TOPICS, HEDGE_RATIOS, TICKS
from common.topics.__main__ import main


class Cluster:
    """A real cluster under a prefix of the test's own."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.admin = TopicAdmin(connection_settings(bootstrap_servers, "test"))

    def run(self, command: str, *options: str) -> int:
        return main([command, "--bootstrap", self.bootstrap_servers, "--prefix", self.prefix, *options], {})

    def names(self) -> list[str]:
        return [self.prefix + topic.name for topic in ALL_TOPICS]


@pytest.fixture
def cluster(kafka_bootstrap_servers: str) -> Iterator[Cluster]:
    made = Cluster(kafka_bootstrap_servers)
    yield made
    made.admin.delete(made.names())


def test_apply_makes_what_check_asks_for(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """check names what is missing, plan tells it, apply makes it, and then there is nothing to do."""
    assert cluster.run("check") == 1
    assert f"{cluster.prefix}ticks: topic expected 6 partitions, found none" in capsys.readouterr().out
    assert cluster.run("plan") == 0
    assert f"create  {cluster.prefix}kalman-state: partitions=6 replication=1 cleanup.policy=compact" in capsys.readouterr().out
    assert cluster.run("check") == 1
    assert cluster.run("apply") == cluster.run("apply") == cluster.run("check") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("as defined, nothing to do; at most 2.70 GB of 3 GB, 0.3 GB in reserve")
    assert sorted(cluster.admin.found(cluster.names())) == sorted(cluster.names())


def test_another_disk_changes_the_retention(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """What apply has made for one disk, check measures against another, and apply changes."""
    assert cluster.run("apply") == 0
    capsys.readouterr()
    assert cluster.run("check", "--disk-gb", "20", "--json") == 1
    found = json.loads(capsys.readouterr().out)["differences"]
    assert {(each["setting"], each["remedy"]) for each in found} == {("retention.bytes", "change"), ("segment.bytes", "change")}
    assert cluster.run("apply", "--disk-gb", "20") == cluster.run("check", "--disk-gb", "20") == 0
    assert cluster.run("check") == 1


def test_two_at_once_are_no_error(cluster: Cluster) -> None:
    """Several hosts may start at the same moment; all succeed and the topics are as defined."""
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(cluster.run("apply"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0, 0, 0]
    assert cluster.run("check") == 0


@pytest.mark.parametrize(("partitions", "why"), [("4", "partitions are never taken away"), ("8", "pairs would move to other partitions")])
def test_another_number_of_partitions_is_refused(cluster: Cluster, capsys: pytest.CaptureFixture[str], partitions: str, why: str) -> None:
    """apply changes nothing at all when one thing is refused; check and plan say which."""
    assert cluster.run("apply") == 0
    assert cluster.run("apply", "--partitions", partitions, "--disk-gb", "20") == 1
    assert f"topics: {cluster.prefix}ticks: partitions expected {partitions}, found 6 ({why}" in capsys.readouterr().err
    assert cluster.run("plan", "--partitions", partitions) == cluster.run("check", "--partitions", partitions) == 1
    assert cluster.run("check") == 0


def test_services_refuse_unequal_topics(cluster: Cluster) -> None:
    """A service does not begin on topics whose partitions do not match, or that are there only in part, and names the command."""
    raw = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    for topic, partitions in ((TICKS, 3), (HEDGE_RATIOS, 4)):
        for future in raw.create_topics([NewTopic(cluster.prefix + topic.name, partitions, 1)]).values():
            future.result(10)
    transport = KafkaTransport(cluster.bootstrap_servers, topic_prefix=cluster.prefix)
    with pytest.raises(ConfigurationError, match=rf"{cluster.prefix}executions.* missing: create the topics with `python -m common.topics apply`"):
        transport.require_topics(ALL_TOPICS, 0)
    with pytest.raises(ConfigurationError, match=rf"but have {cluster.prefix}ticks 3, {cluster.prefix}hedge-ratios 4: see `python -m common.topics check`"):
        transport.require_topics([TICKS, HEDGE_RATIOS], 5)
    transport.close()


def test_services_refuse_missing_topics() -> None:
    """One line names the missing topics and the command that makes them; with all of them there is nothing to say."""
    broker = MockBroker(topics=[topic for topic in ALL_TOPICS if topic not in {TICKS, HEDGE_RATIOS}])
    transport = KafkaTransport(broker.bootstrap_servers)
    with pytest.raises(ConfigurationError, match=r"^Kafka at \S+: ticks, hedge-ratios missing: create the topics with `python -m common.topics apply`$"):
        transport.require_topics(ALL_TOPICS, 0.3)
    broker.create(ALL_TOPICS)
    transport.require_topics(ALL_TOPICS, 5)
    transport.close()
    broker.close()


def test_wrong_settings_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Options and variables are checked alike, before any broker is asked; what does not fit is refused."""
    assert main(["plan", "--partitions", "0"], {}) == 2
    assert main(["plan"], {"TOPIC_PARTITIONS": "0"}) == 2
    assert main(["plan", "--partitions", "48"], {"KAFKA_DISK_GB": "1"}) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == errors[1] == "topics: TOPIC_PARTITIONS='0': Expected `int` >= 1; for example TOPIC_PARTITIONS=6"
    assert "do not fit into 1 GB" in errors[2]
