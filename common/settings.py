"""Typed settings, read once from the environment; every problem is listed at once.

A settings class is a frozen msgspec struct whose fields carry a description, their rule as msgspec constraints and an
example. The variable is the field's name in upper case; a secret is read from the file named by `<VARIABLE>_FILE` first.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec

from common.errors import ConfigurationError, InvalidRecord
from common.market import NANOSECONDS, Pair
from common.messages import Feed

S = TypeVar("S", bound="Settings")


class Secret:
    """A value that never shows in logs, errors or `repr`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"


def setting(description: str, example: str, **constraints: Any) -> msgspec.Meta:
    """The description, example and rule (msgspec constraints such as `gt`, `le`, `pattern`) of a setting."""
    return msgspec.Meta(description=description, examples=[example], **constraints)


class Exchange(StrEnum):
    """Where market data comes from."""

    SIMULATOR = "simulator"
    BINANCE = "binance"


class Market(StrEnum):
    """Binance's markets that are spoken here."""

    FUTURES = "futures"
    SPOT = "spot"


class TradingProfile(StrEnum):
    """Which defaults are in force: those of the settings classes, or the demo's, which trade on any recording of klines."""

    STANDARD = "standard"
    DEMO = "demo"


#: What the demo's profile changes: the cost gate reports without blocking, and a one-minute kline may be a minute old.
#: Never fees, latency or spread.
DEMO_PROFILE: Mapping[str, str] = {"COST_MARGIN": "0", "ADVISORY_GATES": "cost", "MAX_LEG_AGE_MS": "60000"}


class SecurityProtocol(StrEnum):
    """How Kafka's clients connect, as Kafka spells it."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_sasl(self) -> bool:
        """Whether a user name and password are asked for."""
        return self.value.startswith("SASL_")

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.value.endswith("SSL")


class SaslMechanism(StrEnum):
    """How a password is proven, as Kafka spells it; PLAIN shows it to the broker and, without TLS, to the network."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class LogLevel(StrEnum):
    """Levels of the standard library."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service is told. Subclasses add their own."""

    exchange: Annotated[Exchange, setting("market data from the simulator or from Binance", "simulator")] = Exchange.SIMULATOR
    simulator_address: Annotated[str, setting("where the exchange simulator listens, host:port", "exchange-simulator:8010", pattern=r"^[^\s:/]+:\d+$")] = (
        "127.0.0.1:8010"
    )
    trading_profile: Annotated[
        TradingProfile, setting("standard, or demo: defaults that trade on recorded klines; demo takes effect with EXCHANGE=simulator only", "demo")
    ] = TradingProfile.STANDARD
    binance_market: Annotated[Market, setting("USD-M futures or spot", "futures")] = Market.FUTURES
    symbols: Annotated[
        tuple[str, ...], setting("symbols, comma separated; the first is the hedge leg of the default pairs", "BTCUSDT,ETHUSDT", min_length=2)
    ] = ("BTCUSDT", "ETHUSDT")
    pairs: Annotated[tuple[str, ...], setting("pairs, dependent leg first, comma separated; default: each symbol against the first", "ETHUSDT-BTCUSDT")] = ()
    bar_interval_seconds: Annotated[int, setting("length of a bar, seconds; 60 or a divisor of it", "60", ge=1, le=60)] = 60
    max_leg_age_ms: Annotated[int, setting("oldest book of a leg that may be acted upon, ms", "2000", ge=1)] = 2000
    taker_fee_bps: Annotated[Decimal | None, setting("fee of a taker fill, bps of notional; default: 5 on futures, 10 on spot", "5", ge=0, le=100)] = None
    kafka_bootstrap_servers: Annotated[
        str, setting("Kafka brokers, host:port, comma separated", "localhost:9092", pattern=r"^[^\s:,]+:\d+(,[^\s:,]+:\d+)*$")
    ] = "localhost:9092"
    kafka_security_protocol: Annotated[SecurityProtocol, setting("how Kafka is connected to: SSL encrypts, SASL asks for a password", "SASL_SSL")] = (
        SecurityProtocol.PLAINTEXT
    )
    kafka_sasl_mechanism: Annotated[SaslMechanism, setting("how the password is proven to Kafka", "SCRAM-SHA-512")] = SaslMechanism.SCRAM_SHA_512
    kafka_sasl_username: Annotated[str, setting("user name for Kafka", "crypto-bot")] = ""
    kafka_sasl_password: Annotated[Secret, setting("password for Kafka", "see KAFKA_SASL_PASSWORD_FILE")] = Secret("")
    kafka_ssl_ca_file: Annotated[str, setting("certificates that Kafka's is checked against, PEM; default: the system's", "/run/secrets/kafka-ca.pem")] = ""
    kafka_ssl_certificate_file: Annotated[str, setting("our own certificate, where Kafka asks for one, PEM", "/run/secrets/kafka-client.pem")] = ""
    kafka_ssl_key_file: Annotated[str, setting("key of our own certificate, PEM", "/run/secrets/kafka-client.key")] = ""
    kafka_ssl_key_password: Annotated[Secret, setting("password of that key, where it has one", "see KAFKA_SSL_KEY_PASSWORD_FILE")] = Secret("")
    kafka_alone: Annotated[bool, setting("the only replica on librdkafka's mock broker: group members take all partitions at once", "true")] = False
    topic_prefix: Annotated[str, setting("put before the names of topics and groups, to keep runs apart", "demo-1-", pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    kafka_fetch_wait_max_ms: Annotated[int, setting("longest wait of a fetch, ms; 1 to 5 with librdkafka's mock broker only", "500", ge=1)] = 500
    topic_partitions: Annotated[int, setting("partitions of each per-pair topic", "6", ge=1, le=1000)] = 6
    topic_replication: Annotated[int, setting("copies of each partition, at most as many as there are brokers", "1", ge=1, le=10)] = 1
    kafka_disk_gb: Annotated[float, setting("disk that all topics together may take on a broker, GB; 20 suits production", "20", gt=0, le=100_000)] = 3.0
    redis_url: Annotated[str, setting("Redis, rediss:// with TLS; empty for none", "redis://localhost:6379/0", pattern=r"^(rediss?://\S+)?$")] = (
        "redis://localhost:6379/0"
    )
    redis_password: Annotated[Secret, setting("password for Redis, unless it is in REDIS_URL", "see REDIS_PASSWORD_FILE")] = Secret("")
    redis_ca_file: Annotated[
        str, setting("certificates that a rediss:// server's is checked against, PEM; default: the system's", "/run/secrets/redis-ca.pem")
    ] = ""
    data_dir: Annotated[str, setting("folder of databases, writable", "var/data", min_length=1)] = "var/data"
    http_host: Annotated[str, setting("address that the HTTP server listens on", "127.0.0.1", min_length=1)] = "127.0.0.1"
    http_port: Annotated[int, setting("port of the HTTP server; 0 for the service's usual one", "8001", ge=0, le=65535)] = 0
    log_level: Annotated[LogLevel, setting("least severe level that is logged", "INFO")] = LogLevel.INFO
    instance: Annotated[str, setting("name of this replica, the same after a restart; default: host and HTTP port", "kalman-filter-1")] = ""
    kafka_startup_timeout_seconds: Annotated[int, setting("longest wait for Kafka at the start, seconds", "30", ge=1, le=600)] = 30
    step_budget_ms: Annotated[int, setting("a turn of the loop that takes longer is logged as SLOW, ms", "100", ge=1)] = 100
    dead_letter_memory_seconds: Annotated[int, setting("what was set aside longer ago no longer keeps the service from being ready, seconds", "60", ge=1)] = 60
    dead_letter_limit: Annotated[
        float,
        setting("share of the last 1000 records set aside at which the service stops being ready, and execution takes no new exposure", "0.05", gt=0, le=1),
    ] = 0.05

    def problems(self) -> list[str]:
        """Rules that span fields; one line each. Subclasses extend the list."""
        found = [f"PAIRS: {error.detail}" for error in map(_pair_problem, self.pairs) if error]
        named = {symbol for name in self.pairs if _pair_problem(name) is None for symbol in name.split("-")}
        found += [f"PAIRS: {symbol} is not in SYMBOLS ({','.join(self.symbols)})" for symbol in sorted(named - set(self.symbols))]
        found += [f"SYMBOLS: {symbol!r} is not a symbol such as BTCUSDT" for symbol in self.symbols if not (symbol.isalnum() and symbol.isupper())]
        found += [f"{name}: {value!r} is named twice" for name, values in (("SYMBOLS", self.symbols), ("PAIRS", self.pairs)) for value in _repeated(values)]
        if 60 % self.bar_interval_seconds:
            found.append(f"BAR_INTERVAL_SECONDS={self.bar_interval_seconds}: bars must fill a minute, so that days begin with one; use 60 or a divisor of it")
        return found + self._security_problems()

    def _security_problems(self) -> list[str]:
        """What would fail, or would look safe and protect nothing."""
        protocol, found = self.kafka_security_protocol, []
        named = f"KAFKA_SECURITY_PROTOCOL={protocol}"
        sasl = {"KAFKA_SASL_USERNAME": self.kafka_sasl_username, "KAFKA_SASL_PASSWORD": self.kafka_sasl_password}
        for variable, value in sasl.items():
            if protocol.has_sasl and not value:
                found.append(f"{variable}: {named} asks for it; set it{' or a file by _FILE' if isinstance(value, Secret) else ''}")
            if value and not protocol.has_sasl:
                found.append(f"{variable}: {named} would not use it; set KAFKA_SECURITY_PROTOCOL=SASL_SSL or leave it out")
        tls = {
            "KAFKA_SSL_CA_FILE": self.kafka_ssl_ca_file,
            "KAFKA_SSL_CERTIFICATE_FILE": self.kafka_ssl_certificate_file,
            "KAFKA_SSL_KEY_FILE": self.kafka_ssl_key_file,
        }
        if not protocol.has_tls:
            found += [
                f"{variable}: {named} would not use it; set KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL, or leave it out" for variable in tls if tls[variable]
            ]
        elif bool(self.kafka_ssl_certificate_file) != bool(self.kafka_ssl_key_file):
            found.append("KAFKA_SSL_CERTIFICATE_FILE, KAFKA_SSL_KEY_FILE: one is of no use without the other; set both or none")
        if self.redis_ca_file and not self.redis_url.startswith("rediss://"):
            found.append("REDIS_CA_FILE: REDIS_URL would not use it; begin REDIS_URL with rediss:// or leave it out")
        return found

    def trading_pairs(self) -> tuple[Pair, ...]:
        """The configured pairs, else each symbol against the first."""
        return tuple(map(Pair.parse, self.pairs)) or tuple(Pair(symbol, self.symbols[0]) for symbol in self.symbols[1:])

    @property
    def profile_in_use(self) -> TradingProfile:
        """The profile whose defaults are in force: data of Binance's own are never traded with the demo's."""
        return self.trading_profile if self.exchange is Exchange.SIMULATOR else TradingProfile.STANDARD

    @property
    def fee_bps(self) -> Decimal:
        """Fee of a taker fill, bps of notional: the given one, else a regular user's in Binance's fee tables of 2026."""
        if self.taker_fee_bps is not None:
            return self.taker_fee_bps
        return Decimal(5) if self.binance_market is Market.FUTURES else Decimal(10)

    @property
    def bar_interval_ns(self) -> int:
        """Length of a bar, ns."""
        return self.bar_interval_seconds * NANOSECONDS

    @property
    def max_leg_age_ns(self) -> int:
        """Oldest book of a leg that may be acted upon, ns."""
        return self.max_leg_age_ms * 1_000_000


def _pair_problem(name: str) -> InvalidRecord | None:
    try:
        Pair.parse(name)
    except InvalidRecord as error:
        return error
    return None


def _repeated(values: tuple[str, ...]) -> list[str]:
    return sorted({value for value in values if values.count(value) > 1})


def load(settings_type: type[S], environment: Mapping[str, str]) -> S:
    """Read a settings class from environment variables; raises ConfigurationError with every problem."""
    environment = _with_profile(environment)
    values: dict[str, Any] = {}
    problems: list[str] = []
    hints = get_type_hints(settings_type, include_extras=True)
    for name in settings_type.__struct_fields__:
        try:
            text = _raw(name.upper(), hints[name], environment)
            if text is not None:
                values[name] = _convert(text, hints[name])
        except (msgspec.ValidationError, ValueError, ArithmeticError, OSError) as error:
            problems.append(_problem(name.upper(), hints[name], environment, error))
    if problems:
        raise ConfigurationError(problems)
    settings = settings_type(**values)
    if found := settings.problems():
        raise ConfigurationError(found)
    return settings


def _with_profile(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Put the demo's values where the environment sets none."""
    given = {name: value for name, value in environment.items() if value.strip()}
    demo = given.get("TRADING_PROFILE", "").strip() == TradingProfile.DEMO
    recorded = given.get("EXCHANGE", Exchange.SIMULATOR).strip() == Exchange.SIMULATOR
    return {**environment, **DEMO_PROFILE, **given} if demo and recorded else environment


def is_secret(hint: Any) -> bool:
    """Whether a field's type is Secret."""
    return kind_of(hint) is Secret


def _raw(variable: str, hint: Any, environment: Mapping[str, str]) -> str | None:
    if is_secret(hint) and (path := environment.get(f"{variable}_FILE")):
        return Path(path).read_text(encoding="utf-8").strip()
    text = environment.get(variable, "").strip()
    return text if text or (variable in environment and _may_be_blank(hint)) else None


def _may_be_blank(hint: Any) -> bool:
    """Whether the rule allows a blank text, which then says "none"; elsewhere it counts as not set."""
    meta = meta_of(hint)
    return meta is not None and meta.pattern is not None and re.search(meta.pattern, "") is not None


def _convert(text: str, hint: Any) -> Any:
    kind = kind_of(hint)
    if kind is Secret:
        return Secret(text)
    if kind == tuple[str, ...]:
        return msgspec.convert([part.strip() for part in text.split(",") if part.strip()], hint)
    if kind is Decimal:
        return _decimal(text, hint)
    if kind is bool:
        text = {"true": "1", "yes": "1", "false": "0", "no": "0"}.get(text.lower(), text)
    return msgspec.convert(text, hint, strict=False)


def kind_of(hint: Any) -> Any:
    """The bare type of a field: without annotations and without None."""
    kind = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if isinstance(kind, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return kind


def _decimal(text: str, hint: Any) -> Decimal:
    value = Decimal(text)
    meta = meta_of(hint)
    bounds = ((meta.gt, "> "), (meta.ge, ">= "), (meta.lt, "< "), (meta.le, "<= ")) if meta else ()
    holds = {"> ": value.__gt__, ">= ": value.__ge__, "< ": value.__lt__, "<= ": value.__le__}
    if not value.is_finite() or any(bound is not None and not holds[sign](Decimal(str(bound))) for bound, sign in bounds):
        rule = " and ".join(f"{sign}{bound}" for bound, sign in bounds if bound is not None)
        raise ValueError(f"Expected a decimal number {rule}".rstrip())
    return value


def meta_of(hint: Any) -> msgspec.Meta | None:
    """The description, example and rule of an annotated field."""
    return next((part for part in get_args(hint)[1:] if isinstance(part, msgspec.Meta)), None)


def _problem(variable: str, hint: Any, environment: Mapping[str, str], error: Exception) -> str:
    meta = meta_of(hint)
    example = f"; for example {variable}={meta.examples[0]}" if meta and meta.examples else ""
    given = "***" if is_secret(hint) else repr(environment.get(variable, ""))
    rule = "a decimal number" if isinstance(error, ArithmeticError) else str(error)
    return f"{variable}={given}: {rule}{example}"


def require_writable(folder: Path) -> None:
    """Make the folder; raises ConfigurationError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # Another service may look into the same folder at this moment.
    except OSError as error:
        raise ConfigurationError([f"DATA_DIR={str(folder)!r}: cannot be written ({error.strerror}); name a folder that this user may write"]) from error


__all__ = [
    "DEMO_PROFILE",
    "Exchange",
    "Feed",
    "LogLevel",
    "Market",
    "SaslMechanism",
    "Secret",
    "SecurityProtocol",
    "Settings",
    "TradingProfile",
    "is_secret",
    "kind_of",
    "load",
    "meta_of",
    "require_writable",
    "setting",
]
