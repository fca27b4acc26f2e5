"""Causes in what watches: Prometheus, Alertmanager and the ways to people."""

from collections.abc import Iterator
from contextlib import contextmanager

from scripts.drill.acts import Act, about
from scripts.drill.stage import Stage

_BARS, _GARCH = "bars", "garch-volatility-service"
#: No way to match one side with the other.
_BROKEN_RULE = """groups:
  - name: drill
    rules:
      - record: drill:crypto_bot_ready:quotient
        expr: crypto_bot_ready / on () crypto_bot_ready
"""
#: More work than a tenth of a second holds.
_SLOW_RULE = """groups:
  - name: drill
    interval: 100ms
    rules:
      - record: drill:work:sum
        expr: sum(count_over_time(vector(1)[8d:1s]))
"""


@contextmanager
def _one_more_rule(stage: Stage, text: str) -> Iterator[None]:
    file = stage.prometheus.folder / "rules" / "drill.yml"
    file.write_text(text, encoding="utf-8")
    stage.prometheus.reload()
    try:
        yield
    finally:
        file.unlink()
        stage.prometheus.reload()


@contextmanager
def _broken_rule(stage: Stage) -> Iterator[None]:
    with _one_more_rule(stage, _BROKEN_RULE):
        yield


@contextmanager
def _slow_rule(stage: Stage) -> Iterator[None]:
    with _one_more_rule(stage, _SLOW_RULE):
        yield


@contextmanager
def _broken_configuration(stage: Stage) -> Iterator[None]:
    with stage.prometheus.configuration.open("a", encoding="utf-8") as file:
        file.write("scrape_configurations: []\n")
    stage.prometheus.reload()
    try:
        yield
    finally:
        stage.prometheus.configure()
        stage.prometheus.reload()


@contextmanager
def _broken_routes(stage: Stage) -> Iterator[None]:
    with stage.alertmanager.configuration.open("a", encoding="utf-8") as file:
        file.write("receiver: nobody\n")
    stage.alertmanager.reload()
    try:
        yield
    finally:
        stage.alertmanager.configure()
        stage.alertmanager.reload()


@contextmanager
def _withdrawn_address(stage: Stage) -> Iterator[None]:
    withdrawn = stage.servers.receivers.hooks.withdrawn
    withdrawn.add("/heartbeat")
    try:
        yield
    finally:
        withdrawn.clear()


@contextmanager
def _alertmanager_away(stage: Stage) -> Iterator[None]:
    stage.alertmanager.kill()
    try:
        stage.wait(lambda: stage.prometheus.fires("AlertsNotDelivered"), 60, "alerts that cannot be delivered")
    finally:
        stage.alertmanager.start()
    yield


@contextmanager
def _no_target(stage: Stage) -> Iterator[None]:
    with stage.scraped_at(_GARCH):
        yield


@contextmanager
def _second_target(stage: Stage) -> Iterator[None]:
    with stage.scraped_at(_GARCH, stage.port(_GARCH), stage.spare_port):
        yield


WATCH = (
    Act(about("RuleFailures"), _BARS, "a rule is added that cannot be computed", "the rule is taken out", _broken_rule),
    Act(about("RulesSlow"), _BARS, "a group of rules is added that takes longer than its interval", "the group is taken out", _slow_rule),
    Act(
        about("PrometheusConfigRejected"),
        _BARS,
        "a key that Prometheus does not know is written into its configuration",
        "the configuration is put right and read again",
        _broken_configuration,
    ),
    Act(
        about("AlertmanagerConfigRejected"),
        _BARS,
        "a key that Alertmanager does not know is written into its configuration",
        "the configuration is put right and read again",
        _broken_routes,
    ),
    Act(about("NotificationsFail"), _BARS, "the heartbeat's address answers 404", "it answers 200", _withdrawn_address),
    Act(
        about("AlertsNotDelivered"),
        _BARS,
        "Alertmanager is killed; it is started again once the alert fires, else nobody could hear of it",
        "none: the alert ends with its window",
        _alertmanager_away,
    ),
    Act(
        about("ReplicaDown", service=_GARCH),
        _BARS,
        "Prometheus is told of a second replica of garch-volatility-service, and nothing answers there",
        "it is told of the one that is there",
        _second_target,
    ),
    Act(
        about("ServiceMissing", service=_GARCH),
        _BARS,
        "Prometheus finds no replica of garch-volatility-service any more",
        "it finds it again",
        _no_target,
    ),
)
