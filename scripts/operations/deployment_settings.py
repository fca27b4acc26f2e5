"""Whether the settings and secrets of a deployment are such that its services start and nobody guesses a password."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from common.errors import ConfigurationError
from common.settings import load
from scripts.env_examples import SET_BY_IMAGES, Variable, is_secret, settings_types, variables
from scripts.operations.deployment_facts import Facts, environment_of

PRODUCTION = "production"
#: What stands in examples and on lists of usual passwords.
EXAMPLES = {"admin", "changeme", "change-me", "change_me", "default", "example", "grafana", "kafka", "password", "passwort", "redis", "replace-me", "secret"}
EXAMPLES |= {"crypto-bot", "cryptobot", "hunter2", "letmein", "qwerty", "test", "token", "your-password", "your_password", "12345678", "123456789012", "xxx"}
#: Of Grafana in development.
EXAMPLES |= {"admin123"}
LEAST_CHARACTERS = 12
DASHBOARD_USERS = "dashboard_users"
MAIL = ("ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "SMTP_SERVER", "SMTP_USER")
#: Where alerts go; others gave these, so their strength is not ours to judge, and `off` turns one off.
RECEIVERS = {"slack_webhook_url", "smtp_password", "pagerduty_routing_key", "heartbeat_url"}


class Finding(NamedTuple):
    """One line for whoever deploys."""

    kind: str
    subject: str
    text: str
    fix: str


def findings(facts: Facts, environment: str, image: Mapping[str, str]) -> list[Finding]:
    """Everything amiss; `image` is the environment that our images come with."""
    known = variables()
    found = [*_settings(facts, environment, image), *_secrets_in_the_open(facts, environment, known), *_unknown(facts, environment, known)]
    return list(dict.fromkeys([*found, *_passwords(facts, environment)]))


def _env_file(environment: str) -> str:
    return ".env.prod" if environment == PRODUCTION else ".env.dev"


def _settings(facts: Facts, environment: str, image: Mapping[str, str]) -> Iterator[Finding]:
    """What each service would say before it stops; a secret's file is looked at elsewhere."""
    for name, kind in settings_types().items():
        if name not in facts.services:
            continue
        given = {**image, **environment_of(facts.services[name])}
        try:
            load(kind, {variable: value for variable, value in given.items() if not (variable.endswith("_FILE") and value.startswith("/run/secrets/"))})
        except ConfigurationError as error:
            for problem in error.problems:
                account = problem.startswith("ENABLE_PAPER_TRADING")
                text, _, fix = problem.partition("; ") if account else (problem, "", "")
                yield Finding("problem", "live account" if account else "settings", text, fix or f"change it in {_env_file(environment)} or in the shell")


def _secrets_in_the_open(facts: Facts, environment: str, known: Mapping[str, Variable]) -> Iterator[Finding]:
    """Secrets that stand in an env file or the shell."""
    kind = "problem" if environment == PRODUCTION else "warning"
    for service in facts.services.values():
        for name, value in environment_of(service).items():
            if name in known and is_secret(known[name]) and value:
                yield Finding(
                    kind, "secrets", f"{name} is in the environment, where `docker inspect` shows it", f"put it into a file and name that in {name}_FILE"
                )
                if environment == PRODUCTION and (reason := _weakness(value)):
                    yield Finding("problem", "secrets", f"{name} {reason}", "choose another: openssl rand -hex 24")


def _unknown(facts: Facts, environment: str, known: Mapping[str, Variable]) -> Iterator[Finding]:
    """Names that nothing reads: mistyped, most often."""
    read = {*known, *SET_BY_IMAGES, *(f"{name}_FILE" for name, each in known.items() if is_secret(each))}
    for name in settings_types():
        for variable in sorted(set(environment_of(facts.services.get(name, {}))) - read):
            yield Finding(
                "warning", "settings", f"{variable} is no setting", f"look for the right name in env.{'prod' if environment == PRODUCTION else 'dev'}.example"
            )


def _passwords(facts: Facts, environment: str) -> Iterator[Finding]:
    if environment != PRODUCTION:
        return
    for name, value in facts.secrets.items():
        if name == DASHBOARD_USERS:
            yield from _users(value)
        elif name in RECEIVERS:
            yield from _receiver(name, value, environment_of(facts.services.get("alertmanager", {})))
        elif reason := _weakness(value):
            yield Finding("problem", "secrets", f"{name} {reason}", "choose another: openssl rand -hex 24")


def _receiver(name: str, value: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """An address where one is asked for; mail needs to know from whom, to whom and by which server."""
    if value == "off":
        return
    if name.endswith("_url") and not value.startswith(("http://", "https://")):
        yield Finding("problem", "secrets", f"{name} is no address", f"https://... in it, or for none: echo off >{name}")
    missing = [each for each in MAIL if not environment.get(each)] if name == "smtp_password" else []
    if missing:
        yield Finding("problem", "secrets", f"smtp_password is there and {', '.join(missing)} not", "name them in .env, or write off into smtp_password")


def _weakness(value: str) -> str:
    if value.lower() in EXAMPLES or len(set(value)) < 4:
        return "is an example password"
    return f"has fewer than {LEAST_CHARACTERS} characters" if len(value) < LEAST_CHARACTERS else ""


def _users(text: str) -> Iterator[Finding]:
    fix = "a line for each: NAME HASH, the hash by `docker run --rm -it caddy:2.11-alpine caddy hash-password`"
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not (len(line.split()) == 2 and line.split()[1].startswith("$")):
            yield Finding("problem", "secrets", f"{DASHBOARD_USERS}: line {number} is not a name and a hash", fix)
