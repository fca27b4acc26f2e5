"""Who we are to Kafka and whom we trust: settings in librdkafka's names, and a refusal told from an absence."""

import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from common.errors import ConfigurationError, TransportError
from common.io.kafka_settings import log_error
from common.settings import Settings


def security_settings(settings: Settings) -> dict[str, Any]:
    """What every client needs besides an address; raises ConfigurationError for files that cannot be read."""
    protocol = settings.kafka_security_protocol
    made: dict[str, Any] = {"security.protocol": protocol.value}
    if protocol.has_sasl:
        made["sasl.mechanism"] = settings.kafka_sasl_mechanism.value
        made["sasl.username"] = settings.kafka_sasl_username
        made["sasl.password"] = settings.kafka_sasl_password.reveal()
    if protocol.has_tls:
        files = {
            "ssl.ca.location": settings.kafka_ssl_ca_file,
            "ssl.certificate.location": settings.kafka_ssl_certificate_file,
            "ssl.key.location": settings.kafka_ssl_key_file,
        }
        _require_readable(settings)
        made |= {name: file for name, file in files.items() if file}
        if settings.kafka_ssl_key_password:
            made["ssl.key.password"] = settings.kafka_ssl_key_password.reveal()
    return made


def _require_readable(settings: Settings) -> None:
    problems = []
    for name in ("kafka_ssl_ca_file", "kafka_ssl_certificate_file", "kafka_ssl_key_file"):
        file = getattr(settings, name)
        try:
            if file:
                Path(file).read_bytes()
        except OSError as error:
            problems.append(f"{name.upper()}={file!r}: cannot be read ({error.strerror}); name a PEM file that this user may read")
    if problems:
        raise ConfigurationError(problems)


class Troubles:
    """Remembers why a client does not get through; goes to a client as its `error_cb`."""

    def __init__(self) -> None:
        self.last = ""
        self._refusal: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """Take an error in."""
        log_error(error)
        # Where Kafka does not take our certificate it just ends the connection, so the code does not tell.
        if error.code() == KafkaError._AUTHENTICATION or "certificate" in error.str():  # noqa: SLF001 - librdkafka's own
            self._refusal = error
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - it says only that there were errors
            self.last = error.str()

    def require_accepted(self, bootstrap_servers: str) -> None:
        """Raise ConfigurationError when the broker is there but one of us does not trust the other: waiting would not help."""
        if self._refusal is None:
            return
        if self._refusal.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001 - librdkafka's own
            what = "refuses the user or the password", "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
        else:
            what = "and we do not trust each other's certificates", "check KAFKA_SSL_CA_FILE, the host name, and KAFKA_SSL_CERTIFICATE_FILE if it asks for one"
        raise ConfigurationError([f"Kafka at {bootstrap_servers} {what[0]} ({self._refusal.str()}); {what[1]}"])


def await_cluster(client: Any, troubles: Troubles, bootstrap_servers: str, timeout_s: float) -> Any:
    """Ask a client, whose `error_cb` is `troubles.note`, for all topics until there is an answer.

    Raises TransportError when there is none in time, and ConfigurationError at once when the broker refuses us, or we it.
    """
    give_up_at = time.monotonic() + timeout_s
    while True:
        left = give_up_at - time.monotonic()
        try:
            return client.list_topics(timeout=max(0.1, min(left, 1.0)))
        except KafkaException as error:
            client.poll(0)  # Lets the client tell its troubles.
            troubles.require_accepted(bootstrap_servers)
            if left <= 1.0:
                what = f"no Kafka at {bootstrap_servers} after {timeout_s:g} s: start it or set KAFKA_BOOTSTRAP_SERVERS"
                raise TransportError(f"{what} (last heard: {troubles.last})" if troubles.last else what) from error
