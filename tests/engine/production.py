"""Production on the engine: set up as people are told to, fed by an exchange that stands outside the stack."""

import base64
import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.operations.deployment_settings import RECEIVERS
from tests.engine.deployed import Deployed
from tests.engine.stack import free_ports, run

FILES = ("--file", "docker-compose.yml", "--file", "docker-compose.prod.yml")
PASSWORDS = ("redis_password", "control_token", "grafana_admin_password", "kafka_ui_password")
USER = "trader"
#: What lies beside production and would, if anybody read it, trade for money, talk to strangers and open what is shut.
HOSTILE = """EXCHANGE=binance
ENABLE_PAPER_TRADING=false
BINANCE_TESTNET=false
SYMBOLS=BTCUSDT,XRPUSDT
KAFKA_BOOTSTRAP_SERVERS=nowhere.invalid:1
REDIS_PASSWORD=hostile
REDIS_PASSWORD_FILE=/nowhere
CONTROL_TOKEN=hostile
SIMULATOR_ADDRESS=nowhere.invalid:1
"""


@contextmanager
def exchange_outside() -> Iterator[str]:
    """A looping exchange in a container that is no part of any stack; yields its address, as it is reached by the way out of a stack."""
    host = run("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    (port,) = free_ports(1)
    settings = ("--env", "SIMULATOR_SPEED=600", "--env", "SIMULATOR_LOOP=true")
    container = run("docker", "run", "--detach", "--rm", "--publish", f"{host}:{port}:8010", *settings, "crypto-bot-exchange-simulator:latest").strip()
    try:
        yield f"{host}:{port}"
    finally:
        run("docker", "rm", "--force", container)


class Production(Deployed):
    """A copy of the checkout with the secrets of a production."""

    def __init__(self, folder: Path, record_property: Callable[[str, object], None]) -> None:
        super().__init__(folder, record_property)
        self.environment.pop("SIMULATOR_SPEED")
        (folder / ".env.dev").write_text(HOSTILE, encoding="utf-8")
        #: What nobody may ever see, by what it is.
        self.planted: dict[str, str] = {}

    def make_env_file(self) -> None:
        """Copy the example."""
        self._do("cp env.prod.example .env.prod && chmod 600 .env.prod")

    def make_secrets(self) -> None:
        """Passwords and a login, for the containers' group to read and for nobody else."""
        self._do("mkdir -p secrets")
        for name in PASSWORDS:
            self._do(f"openssl rand -hex 24 >secrets/{name}")
            self.planted[name] = self._secret(name)
        for name in RECEIVERS:
            self._do(f"echo off >secrets/{name}")
        self.planted["password of the page"] = password = os.urandom(16).hex()
        self.planted["hash of that"] = hashed = run("docker", "run", "--rm", "caddy:2.11-alpine", "caddy", "hash-password", "--plaintext", password).strip()
        (self.folder / "secrets" / "dashboard_users").write_text(f"{USER} {hashed}\n", encoding="utf-8")
        self._do("chgrp 10001 secrets/* && chmod 0440 secrets/*")

    def trade_on_paper(self, exchange: str) -> None:
        """Edit the env file: on paper, on the data of an exchange elsewhere."""
        path = self.folder / ".env.prod"
        text = path.read_text(encoding="utf-8").replace("ENABLE_PAPER_TRADING=false", "ENABLE_PAPER_TRADING=true")
        path.write_text(f"{text}EXCHANGE=simulator\nSIMULATOR_ADDRESS={exchange}\nTRADING_PROFILE=demo\n", encoding="utf-8")

    def production(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run plain `docker compose` with the files of production."""
        return self.call("docker", "compose", *FILES, *arguments)

    def https(self, name: str, path: str, login: tuple[str, str] | None = None) -> int:
        """The status of a page under one of the TLS names, its certificate checked; raises SSLError when that is not in order."""
        authority = run("docker", "exec", "crypto-bot-gateway", "cat", "/data/caddy/pki/authorities/local/root.crt")
        port, host = self.ports["TLS_PORT"], f"{name}.localhost"
        connection = http.client.HTTPConnection(host, port)
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        with ssl.create_default_context(cadata=authority).wrap_socket(raw, server_hostname=host) as connection.sock:
            user = base64.b64encode(":".join(login).encode()).decode() if login else ""
            connection.request("GET", path, headers={"Authorization": f"Basic {user}"} if login else {})
            return connection.getresponse().status

    def redis(self, *words: str, password: str = "") -> str:
        """Ask Redis in its container."""
        return run("docker", "exec", "--env", "REDISCLI_AUTH", "crypto-bot-redis", "redis-cli", *words, environment={"REDISCLI_AUTH": password}).strip()

    def _do(self, command: str) -> None:
        subprocess.run(["sh", "-c", command], cwd=self.folder, check=True)

    def _secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text(encoding="utf-8").strip()
