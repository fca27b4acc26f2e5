"""A real Prometheus and a real Alertmanager with the project's own rules, routes and texts, on loopback and on a faster clock."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import CryptoBotError
from scripts.drill.programs import alertmanager_over, find, how_to_get
from scripts.drill.receivers import CONFIGURATION, Receivers
from scripts.drill.rule_files import PROMETHEUS
from scripts.drill.timescale import TimeScale
from scripts.embedded.servers import HOST

GRAFANA_URL, RUNBOOK_URL = "http://grafana.test", "http://runbook.test/runbook.md"
SCRAPE_S, EVALUATION_S = 2, 1
_START_S, _STOP_S, _ASK_S = 30.0, 10.0, 5.0


def require_programs(*names: str) -> dict[str, Path]:
    """Where the programs are; raises CryptoBotError that says how to get one that is missing."""
    found = {name: find(name, may_make=True) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise CryptoBotError("; ".join(map(how_to_get, missing)))
    return {name: path for name, path in found.items() if path is not None}


class Program:
    """A server of the drill's own, with an HTTP port and a log."""

    def __init__(self, command: Sequence[str | Path], port: int, log: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.url, self.port, self._log = f"http://{HOST}:{port}", port, log
        self._command, self._environment = list(command), dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `is_up` tells when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def is_up(self) -> bool:
        """Whether it is ready; raises CryptoBotError when it has ended."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise CryptoBotError(f"{Path(self._command[0]).name} ended with status {status}; see {self._log}")
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=1).close()  # noqa: S310 - our own server
        except OSError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Pause it, let it go on, have it read its files again."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._kill_inside()
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it in good order, as far as it goes along."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def _kill_inside(self) -> None:
        """End what a container holds; nothing, where it is a process of this machine's."""

    def ask(self, path: str, **query: str) -> Any:
        """A JSON answer; None while there is none."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=_ASK_S) as answer:  # noqa: S310 - our own server
                return json.load(answer)
        except (OSError, ValueError):
            return None


class Prometheus(Program):
    """Scrapes what the files of targets name, once every two seconds."""

    def __init__(self, program: Path, folder: Path, ports: tuple[int, int], scale: TimeScale) -> None:
        """`ports` are its own and Alertmanager's."""
        self.folder, self._ports = folder, ports
        (folder / "targets").mkdir(parents=True)
        (folder / "rules").mkdir()
        for file in (PROMETHEUS / "rules").glob("*.yml"):
            (folder / "rules" / file.name).write_text(scale.rules(file.read_text(encoding="utf-8")), encoding="utf-8")
        self.configuration = folder / "prometheus.yml"
        self.configure()
        options = [f"--config.file={self.configuration}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={HOST}:{ports[0]}"]
        # One that could not be delivered is sent again after a minute in production.
        options += ["--web.enable-lifecycle", "--rules.alert.resend-delay=2s", "--storage.tsdb.retention.time=30d"]
        super().__init__([program, *options], ports[0], folder / "prometheus.log", {**os.environ, "GRAFANA_URL": GRAFANA_URL, "RUNBOOK_URL": RUNBOOK_URL})

    def configure(self) -> None:
        """Write the project's configuration, but for addresses and intervals."""
        text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
        text = re.sub(r"dns_sd_configs: \[\{names: \[([\w-]+)\][^]]*\]", r'file_sd_configs: [{files: ["targets/\1.json"]}]', text)
        text = text.replace("localhost:9090", f"{HOST}:{self._ports[0]}").replace("alertmanager:9093", f"{HOST}:{self._ports[1]}")
        text = re.sub(r"(scrape_interval|scrape_timeout): \ds", rf"\1: {SCRAPE_S}s", text)
        text = re.sub(r"evaluation_interval: \ds", f"evaluation_interval: {EVALUATION_S}s", text)
        self.configuration.write_text(text, encoding="utf-8")

    def target(self, job: str, *ports: int, seen_as: str = "") -> None:
        """Say where a job's replicas are; `seen_as` keeps the name of an instance that is reached by a detour."""
        labels = {"instance": seen_as} if seen_as else {}
        groups = [{"targets": [f"{HOST}:{port}"], "labels": labels} for port in ports]
        file = self.folder / "targets" / f"{job}.json"
        file.with_suffix(".new").write_text(json.dumps(groups), encoding="utf-8")
        file.with_suffix(".new").replace(file)

    def reload(self) -> bool:
        """Have it read its configuration again; whether it liked it."""
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")  # noqa: S310 - our own server
        try:
            urllib.request.urlopen(request, timeout=_ASK_S).close()  # noqa: S310 - as above
        except urllib.error.HTTPError:
            return False
        return True

    def values(self, expression: str) -> list[float]:
        """What an expression gives now."""
        answer = self.ask("/api/v1/query", query=expression)
        return [float(each["value"][1]) for each in answer["data"]["result"]] if answer else []

    def fires(self, alert: str) -> bool:
        """Whether an alert has held for its time."""
        return bool(self.values(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    def firing(self) -> set[str]:
        """The names of alerts that fire or are about to."""
        answer = self.ask("/api/v1/alerts")
        return {str(each["labels"]["alertname"]) for each in answer["data"]["alerts"]} if answer else set()


class Alertmanager(Program):
    """Sends to receivers on this machine."""

    def __init__(self, folder: Path, port: int, receivers: Receivers, scale: TimeScale) -> None:
        self.configuration = folder / "alertmanager.yml"
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._starts = folder, 0
        self._text = scale.routes(receivers.configuration(folder / "secrets"))
        self.configure()
        self._options = [f"--config.file={self.configuration}", f"--storage.path={folder}/data", f"--web.listen-address={HOST}:{port}"]
        self._options += ["--cluster.listen-address=", "--web.external-url=http://alertmanager.test:9093"]
        super().__init__([], port, folder / "alertmanager.log")

    @property
    def _container(self) -> str:
        return f"crypto-bot-drill-alertmanager-{os.getpid()}-{self._starts}"

    def start(self) -> None:
        """Start it, in a container of a new name where it is not installed."""
        self._starts += 1
        command = alertmanager_over([self._folder, CONFIGURATION], self._container, may_make=True)
        if command is None:
            raise CryptoBotError(how_to_get("alertmanager"))
        self._command = [*command, *self._options]
        super().start()

    def _kill_inside(self) -> None:
        if self._command[0] == "docker":
            subprocess.run(["docker", "kill", self._container], capture_output=True, check=False)  # noqa: S603, S607 - our own container

    def configure(self) -> None:
        """Write the configuration."""
        self.configuration.write_text(self._text, encoding="utf-8")

    def reload(self) -> None:
        """Have it read its configuration again, whether it likes it or not."""
        self.signal(signal.SIGHUP)

    def is_muted(self, name: str) -> bool:
        """Whether an alert is there and something mutes it."""
        found = self.ask("/api/v2/alerts", filter=f'alertname="{name}"') or []
        return any(each["status"]["inhibitedBy"] for each in found)

    def holds(self, name: str) -> bool:
        """Whether an alert is there."""
        return bool(self.ask("/api/v2/alerts", filter=f'alertname="{name}"'))
