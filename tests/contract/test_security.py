"""TLS and passwords on real servers: a broker and a Redis that ask for them let us in, and say plainly why not."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from common.bootstrap import connect
from common.errors import ConfigurationError, TransportError
from common.io.kafka import KafkaTransport
from common.io.kafka_security import security_settings
from common.io.registry import redis_client
from common.processor import Position
from common.settings import Secret, Settings, load
from common.topics import ALL_TOPICS, DEAD_LETTERS
from tests.conftest import KAFKA_SCRIPT, free_ports
from tests.contract.test_transport import read
from tests.levels import ALL

USER, PASSWORD = "crypto-bot", "planted-k4fk4-pass"


class Certificates(NamedTuple):
    """A folder with an authority, a server's and a client's certificate, and an authority that nobody knows."""

    folder: Path

    def __call__(self, name: str) -> str:
        return str(self.folder / name)


class SecureKafka(NamedTuple):
    """A broker with a plain listener, one with TLS and passwords, and one that asks for certificates."""

    plain: str
    sasl: str
    mutual: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made by openssl for this run."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "other"):
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}", *_files(authority))
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n", encoding="utf-8")
    for name in ("server", "client"):
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    both = (folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes()
    (folder / "server-both.pem").write_bytes(both)
    return Certificates(folder)


@pytest.fixture(scope="session")
def secure_kafka(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A real Kafka of its own, with TEST_LEVEL=all only."""
    if not ALL:
        pytest.skip("needs a real Kafka: set TEST_LEVEL=all")
    if not KAFKA_SCRIPT.exists():
        pytest.skip(f"needs a real Kafka: {KAFKA_SCRIPT.name} is not beside the project")
    folder, ports = tmp_path_factory.mktemp("secure-kafka"), free_ports(4)
    settings = folder / "extra.properties"
    settings.write_text(_broker_settings(ports, certificates), encoding="utf-8")
    arguments = ("--port", str(ports[0]), "--dir", str(folder), "--config", str(settings))
    started = subprocess.run([KAFKA_SCRIPT, "start", *arguments], capture_output=True, text=True, check=False)
    if started.returncode:
        pytest.skip(f"needs a real Kafka, which does not start here: {started.stderr.strip()}")
    kafka = SecureKafka(*(f"127.0.0.1:{port}" for port in (ports[0], ports[2], ports[3])))
    try:
        _add_user(kafka.plain)
        plain = KafkaTransport(kafka.plain)
        plain.ensure_topics(ALL_TOPICS, 2)
        plain.close()
        yield kafka
    finally:
        subprocess.run([KAFKA_SCRIPT, "stop", "--dir", str(folder)], capture_output=True, check=True)


def sasl(kafka: SecureKafka, certificates: Certificates, **changes: str) -> Settings:
    """Settings of a service that knows everything it must, but for the changes."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.sasl,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CA_FILE": certificates("ca.pem"),
        "KAFKA_STARTUP_TIMEOUT_SECONDS": "10",
    }
    return load(Settings, environment | changes)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
def test_a_broker_with_tls_and_passwords_lets_us_in(mechanism: str, secure_kafka: SecureKafka, certificates: Certificates) -> None:
    """With the right password, in each way to prove it, records go in and come out, through a group member too."""
    transport = connect(sasl(secure_kafka, certificates, KAFKA_SASL_MECHANISM=mechanism), "test", mechanism.lower())
    end = transport.end_offsets(DEAD_LETTERS)[0]
    transport.producer().send(DEAD_LETTERS, "", mechanism.encode(), partition=0)
    (record,) = read(transport.reader([Position(DEAD_LETTERS, 0, end)]), 1)
    assert record.value == mechanism.encode()
    assert dict(transport.committed(DEAD_LETTERS, "nobody")) == {}
    transport.close()


def test_a_broker_that_asks_for_our_certificate_takes_it(secure_kafka: SecureKafka, certificates: Certificates) -> None:
    """SSL without a password: our own certificate says who we are."""
    own = {"KAFKA_SSL_CERTIFICATE_FILE": certificates("client.pem"), "KAFKA_SSL_KEY_FILE": certificates("client.key")}
    tls = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": certificates("ca.pem"), "KAFKA_BOOTSTRAP_SERVERS": secure_kafka.mutual}
    connect(load(Settings, {**tls, **own}), "test", "mutual").close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"KAFKA_SASL_PASSWORD": "wrong"}, ("refuses the user or the password", "KAFKA_SASL_PASSWORD")),
        ({"KAFKA_SASL_USERNAME": "nobody"}, ("refuses the user or the password", "KAFKA_SASL_USERNAME")),
        ({"KAFKA_SSL_CA_FILE": "other.pem"}, ("do not trust", "certificate verify failed", "KAFKA_SSL_CA_FILE")),
        ({"KAFKA_BOOTSTRAP_SERVERS": "mutual", "KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SASL_USERNAME": "", "KAFKA_SASL_PASSWORD": ""}, ("do not trust",)),
    ],
    ids=["wrong password", "unknown user", "unknown authority", "no certificate of ours"],
)
def test_a_refusal_is_said_as_such_and_at_once(changes: dict[str, str], words: tuple[str, ...], secure_kafka: SecureKafka, certificates: Certificates) -> None:
    """What waiting cannot mend is an error of the settings that names them, not an absent Kafka, and holds no password."""
    if "KAFKA_SSL_CA_FILE" in changes:
        changes = {"KAFKA_SSL_CA_FILE": certificates("other.pem")}
    if changes.get("KAFKA_BOOTSTRAP_SERVERS"):
        changes = changes | {"KAFKA_BOOTSTRAP_SERVERS": secure_kafka.mutual}
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        connect(sasl(secure_kafka, certificates, **changes), "test", "refused")
    assert time.monotonic() - began < 8
    assert all(word in str(caught.value) for word in words), caught.value
    assert PASSWORD not in str(caught.value)
    assert "no Kafka" not in str(caught.value)


def test_a_wrong_protocol_is_hinted_at(secure_kafka: SecureKafka) -> None:
    """TLS to a listener without it looks like an absent Kafka, but what was heard of it is told along."""
    transport = KafkaTransport(secure_kafka.plain, security={"security.protocol": "SSL"})
    with pytest.raises(TransportError, match=r"no Kafka at .* \(last heard: .*(SSL handshake failed|in state SSL_HANDSHAKE)"):
        transport.connect(3)
    transport.close()


def test_topics_are_asked_for_with_the_same_settings(secure_kafka: SecureKafka, certificates: Certificates) -> None:
    """`python -m common.topics` gets in with the password and says so when it is wrong."""
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": secure_kafka.sasl,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SSL_CA_FILE": certificates("ca.pem"),
        "TOPIC_PARTITIONS": "2",
    }
    command = [sys.executable, "-m", "common.topics", "check"]
    right = subprocess.run(command, env={**environment, "KAFKA_SASL_PASSWORD": PASSWORD}, capture_output=True, text=True, check=False)
    assert right.returncode == 0, right
    wrong = subprocess.run(command, env={**environment, "KAFKA_SASL_PASSWORD": "wrong"}, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "refuses the user or the password" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_redis_with_tls_and_a_password(certificates: Certificates, tmp_path: Path) -> None:
    """A rediss:// server whose certificate we can check takes the password; without either it is an error of Redis, and the service goes on."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs a real Redis: redis-server is not installed")
    (port,) = free_ports(1)
    tls = ("--tls-port", str(port), "--port", "0", "--tls-cert-file", certificates("server.pem"), "--tls-key-file", certificates("server.key"))
    asks = ("--tls-ca-cert-file", certificates("ca.pem"), "--tls-auth-clients", "no", "--requirepass", PASSWORD, "--dir", str(tmp_path), "--save", "")
    server = subprocess.Popen(["redis-server", *tls, *asks], stdout=subprocess.DEVNULL)
    url = f"rediss://127.0.0.1:{port}/0"
    try:
        known = redis_client(url, Secret(PASSWORD), certificates("ca.pem"))
        assert known is not None
        _until(known.ping)
        for password, authority in ((Secret("wrong"), "ca.pem"), (Secret(PASSWORD), "other.pem")):
            stranger = redis_client(url, password, certificates(authority))
            assert stranger is not None
            with pytest.raises(redis.RedisError):
                stranger.ping()
    finally:
        server.terminate()
        server.wait(10)


def test_files_that_are_no_certificates_are_named(certificates: Certificates, tmp_path: Path) -> None:
    """A missing file is named with its variable, one that holds something else is refused by the client, both before any connection."""
    base = {"KAFKA_SECURITY_PROTOCOL": "SSL"}
    with pytest.raises(ConfigurationError, match=r"KAFKA_SSL_CA_FILE='.*absent\.pem': cannot be read"):
        security_settings(load(Settings, base | {"KAFKA_SSL_CA_FILE": str(tmp_path / "absent.pem")}))
    with pytest.raises(ConfigurationError, match=r"client refuses its settings: .*KAFKA_SSL_"):
        KafkaTransport("127.0.0.1:1", security=security_settings(load(Settings, base | {"KAFKA_SSL_CA_FILE": certificates("extensions")})))


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True)


def _files(name: str) -> tuple[str, ...]:
    return "-keyout", f"{name}.key", "-out", f"{name}.pem"


def _broker_settings(ports: list[int], certificates: Certificates) -> str:
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in zip(("PLAINTEXT", "CONTROLLER", "SASL_SSL", "SSL"), ports, strict=True))
    advertised = ",".join(part for part in listeners.split(",") if not part.startswith("CONTROLLER"))
    login = "org.apache.kafka.common.security"
    return f"""
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={certificates("server-both.pem")}
ssl.truststore.type=PEM
ssl.truststore.location={certificates("ca.pem")}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
"""


def _add_user(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    ways = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
    users: list[Any] = [UserScramCredentialUpsertion(USER, ScramCredentialInfo(way, 4096), PASSWORD.encode()) for way in ways]
    # One alteration of a user in a request.
    for user in users:
        for future in admin.alter_user_scram_credentials([user]).values():
            future.result(10)


def _until(attempt: Callable[[], object]) -> None:
    """A server needs a moment to start."""
    give_up_at = time.monotonic() + 10
    while True:
        try:
            attempt()
        except redis.ConnectionError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)
        else:
            return
