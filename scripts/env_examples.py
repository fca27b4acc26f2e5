"""Write env.dev.example, env.prod.example and docker/from-shell.env from the settings classes.

python -m scripts.env_examples            write them
python -m scripts.env_examples --check    status 1 when one is not current
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.settings import Settings
from common.settings_help import SettingHelp, settings_help
from scripts.service_list import ROOT, packages, service_name, settings_type_of

WIDTH = 120
FROM_SHELL = "docker/from-shell.env"

#: What the image or Compose sets for each container; an env file is read by all containers and cannot.
SET_BY_IMAGES = ("DATA_DIR", "HTTP_HOST", "HTTP_PORT", "INSTANCE", "KAFKA_ALONE", "KAFKA_FETCH_WAIT_MAX_MS", "SIMULATOR_PORT", "SIMULATOR_STATE_DIR")

#: What the Compose files themselves ask for: default and meaning.
COMPOSE_VARIABLES: Mapping[str, tuple[str, str]] = {
    "BIND_ADDRESS": ("127.0.0.1", "address that ports are published on"),
    "INGESTION_PORT": ("8000", "port of ingestion-service on this machine"),
    "KALMAN_FILTER_PORT": ("8001", "port of kalman-filter-service on this machine"),
    "GARCH_VOLATILITY_PORT": ("8002", "port of garch-volatility-service on this machine"),
    "EXECUTION_PORT": ("8003", "port of execution-service on this machine"),
    "RISK_MANAGER_PORT": ("8004", "port of risk-manager-service on this machine"),
    "KAFKA_PORT": ("9092", "port of Kafka on this machine"),
    "KAFKA_ADVERTISED_HOST": ("localhost", "name under which programs outside, such as workers elsewhere, reach Kafka at its port"),
    "REDIS_PORT": ("6379", "port of Redis on this machine"),
    "KAFKA_UI_PORT": ("8090", "port of Kafka UI on this machine"),
    "PROMETHEUS_PORT": ("9090", "port of Prometheus on this machine"),
    "ALERTMANAGER_PORT": ("9093", "port of Alertmanager on this machine"),
    "GRAFANA_PORT": ("3000", "port of Grafana on this machine"),
    "STREAMLIT_PORT": ("8501", "port of the Streamlit page on this machine"),
    "GRAFANA_URL": ("http://localhost:3000", "where the links of an alert find Grafana; with TLS names https://grafana.PUBLIC_DOMAIN"),
    "RUNBOOK_URL": ("docs/runbook.md", "where the links of an alert find the runbook: this page as your people see it"),
    "IMAGE_REGISTRY": ("", "registry that our images come from, such as registry.example.com/hft; none: built here"),
    "IMAGE_TAG": ("latest", "tag of our images"),
}
DEVELOPMENT_VARIABLES: Mapping[str, tuple[str, str]] = {"SECRETS_DIR": ("./secrets", "folder of the secrets, one file each")}
#: With other brokers: docker/compose.zookeeper.yml, docker/compose.cluster.yml.
BROKER_VARIABLES: Mapping[str, tuple[str, str]] = {
    "ZOOKEEPER_PORT": ("2181", "port of ZooKeeper on this machine, with --kafka-mode zookeeper"),
    "KAFKA_2_PORT": ("9192", "port of the second broker on this machine, with --kafka-mode cluster"),
    "KAFKA_3_PORT": ("9292", "port of the third broker on this machine, with --kafka-mode cluster"),
}
PRODUCTION_VARIABLES: Mapping[str, tuple[str, str]] = {
    **DEVELOPMENT_VARIABLES,
    "PUBLIC_DOMAIN": ("localhost", "domain under which grafana, kafka-ui and dashboard have TLS names"),
    "ALERT_EMAIL_TO": ("", "who gets critical alerts by mail; its password is the secret smtp_password, which says off for no mail"),
    "ALERT_EMAIL_FROM": ("", "sender of these mails"),
    "SMTP_SERVER": ("", "mail server that speaks STARTTLS, host:port"),
    "SMTP_USER": ("", "name to log in there"),
    "TLS_BIND_ADDRESS": ("127.0.0.1", "address that the TLS names are published on; 0.0.0.0 for all"),
    "TLS_PORT": ("443", "port of the TLS names"),
    "HTTP_REDIRECT_PORT": ("80", "port that sends people to TLS and answers certificate authorities"),
}


class Example(NamedTuple):
    """One example file."""

    name: str
    target: str
    defaults: str
    introduction: str
    values: Mapping[str, str]
    compose: Mapping[str, tuple[str, str]]


EXAMPLES = (
    Example(
        "env.dev.example",
        ".env.dev",
        "docker/development.env",
        "Settings of development. It works without: what begins with # shows the default. Paper trading on recorded klines, no keys; "
        "EXCHANGE=binance turns it to Binance's live data, still on paper and without keys.",
        {"LOG_LEVEL": "DEBUG", "SYMBOLS": "BTCUSDT,ETHUSDT", "BINANCE_TESTNET": "true", "ENABLE_PAPER_TRADING": "true", "MAX_POSITION_SIZE": "1000"},
        {**COMPOSE_VARIABLES, **DEVELOPMENT_VARIABLES, **BROKER_VARIABLES},
    ),
    Example(
        "env.prod.example",
        ".env.prod",
        "docker/production.env",
        "Settings of production. Orders to a venue are not there yet: with ENABLE_PAPER_TRADING=false execution-service refuses to start and says so; "
        "ENABLE_PAPER_TRADING=true trades Binance's live data on paper. Secrets never stand here: they are files in SECRETS_DIR.",
        {
            "LOG_LEVEL": "INFO",
            "SYMBOLS": "BTCUSDT,ETHUSDT,ADAUSDT,BNBUSDT,SOLUSDT",
            "BINANCE_TESTNET": "false",
            "ENABLE_PAPER_TRADING": "false",
            "MAX_POSITION_SIZE": "50000",
        },
        {**COMPOSE_VARIABLES, **PRODUCTION_VARIABLES, **BROKER_VARIABLES},
    ),
)


class Variable(NamedTuple):
    """A setting and every service that reads it."""

    help: SettingHelp
    readers: tuple[str, ...]


def settings_types() -> dict[str, type[Settings]]:
    """The settings class of each service, those of all services first."""
    found = {service_name(package): settings_type_of(package) for package in packages()}
    return {"every service": Settings, **{name: kind for name, kind in found.items() if kind}}


def variables() -> dict[str, Variable]:
    """Every setting that an env file may hold, as the first class that knows it describes it."""
    found: dict[str, Variable] = {}
    for reader, kind in settings_types().items():
        for row in settings_help(kind):
            known = found.get(row.variable)
            if known is None:
                found[row.variable] = Variable(row, (reader,))
            elif "every service" not in known.readers:
                found[row.variable] = Variable(known.help, (*known.readers, reader))
    return {name: each for name, each in found.items() if name not in SET_BY_IMAGES}


def is_secret(variable: Variable) -> bool:
    """Whether its value may come from a file."""
    return variable.help.rule.startswith("secret")


def defaults_of(path: str) -> dict[str, str]:
    """Read the assignments of an env file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE))


def image_defaults() -> dict[str, str]:
    """Read what the images' environment says beyond Python's own variables."""
    recipe = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    (block,) = re.findall(r"^ENV (PATH(?:.*\\\n)*.*)$", recipe, flags=re.MULTILINE)
    return dict(re.findall(r"([A-Z_]+)=(\S+)", block))


def example_text(example: Example) -> str:
    """Lay one example file out."""
    defaults = {**image_defaults(), **defaults_of(example.defaults)}
    lines = [*_comment(f"Copy to {example.target} and edit. {example.introduction}"), "#"]
    lines += _comment(f"The shell goes before this file, this file before {example.defaults} and the images. Made by python -m scripts.env_examples.")
    section = ""
    for name, variable in variables().items():
        if variable.readers[0] != section:
            section = variable.readers[0]
            lines += ["", f"# --- {section} ".ljust(WIDTH, "-")]
        lines += _entry(name, variable, defaults, example)
    lines += ["", "# --- set by the images, not here ".ljust(WIDTH, "-"), *_comment(", ".join(SET_BY_IMAGES))]
    lines += ["", "# --- of the Compose files: from the shell or a file .env, not from here ".ljust(WIDTH, "-")]
    for name, (default, meaning) in example.compose.items():
        lines += [f"# {name}: {meaning}; default: {default or 'none'}"]
    return "\n".join(lines) + "\n"


def _entry(name: str, variable: Variable, defaults: Mapping[str, str], example: Example) -> Iterator[str]:
    row, default = variable.help, defaults.get(name, variable.help.default)
    readers = f" [{', '.join(variable.readers)}]" if len(variable.readers) > 1 else ""
    yield ""
    yield from _comment(f"{row.meaning}; {row.rule}; default: {default or 'none'}{readers}")
    if is_secret(variable):
        file = defaults.get(f"{name}_FILE", f"/run/secrets/{name.lower()}")
        mounted = example.target == ".env.dev" or f"{name}_FILE" in defaults
        where = f"is {Path(file).name} in SECRETS_DIR" + ("" if mounted else ", once docker-compose.prod.yml mounts it to its readers")
        yield from _comment(f"Better in a file: a value here shows in `docker inspect`. {name}_FILE={file} {where}")
    yield f"{name}={example.values[name]}" if name in example.values else f"#{name}={default}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False)


def from_shell_text() -> str:
    """List every setting by its bare name, which Compose fills from the shell."""
    names = [part for name, each in variables().items() for part in ((name, f"{name}_FILE") if is_secret(each) else (name,))]
    head = "# Bare names: what the shell (or .env) sets goes into the containers, before what env files say. Made by python -m scripts.env_examples.\n"
    return head + "".join(f"{name}\n" for name in names)


def files() -> dict[str, str]:
    """What is written, by path."""
    return {**{example.name: example_text(example) for example in EXAMPLES}, FROM_SHELL: from_shell_text()}


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.env_examples", description="Write the example env files from the settings classes.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when a file is not current")
    check = parser.parse_args(arguments).check
    stale = [name for name, text in files().items() if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text]
    for name in stale:
        sys.stdout.write(f"{name}: not current; run python -m scripts.env_examples\n" if check else f"{name}: written\n")
        if not check:
            (ROOT / name).write_text(files()[name], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
