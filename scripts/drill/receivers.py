"""Who is called: Slack, mail, PagerDuty and the heartbeat's observer, all on this machine, and Alertmanager's configuration for them."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from scripts.drill.sinks import MailSink, WebhookSink
from scripts.embedded.options import ROOT

START = ROOT / "docker" / "alertmanager" / "start.sh"
CONFIGURATION = ROOT / "monitoring" / "alertmanager"
ADDRESSES: Mapping[str, str] = {
    "ALERT_EMAIL_TO": "desk@example.com",
    "ALERT_EMAIL_FROM": "bot@example.com",
    "SMTP_SERVER": "mail.example.com:587",
    "SMTP_USER": "bot@example.com",
}
#: What stands in the files of secrets; the addresses among them lead nowhere.
SECRETS: Mapping[str, str] = {
    "slack_webhook_url": "http://127.0.0.1:1/slack",
    "smtp_password": "a password of the mail server",
    "pagerduty_routing_key": "0123456789abcdef0123456789abcdef",
    "heartbeat_url": "http://127.0.0.1:1/heartbeat",
}


class Receivers(NamedTuple):
    """All four."""

    hooks: WebhookSink
    mail: MailSink

    @classmethod
    def start(cls, folder: Path) -> "Receivers":
        """Begin to listen, on free ports."""
        return cls(WebhookSink(), MailSink(folder))

    def configuration(self, secrets_folder: Path) -> str:
        """The project's configuration as it would run, but for two addresses that no secret gives: PagerDuty's, and whom to trust as mail server."""
        secrets = {**SECRETS, "slack_webhook_url": f"{self.hooks.url}/slack", "heartbeat_url": f"{self.hooks.url}/heartbeat"}
        rendering = render(secrets_folder, secrets, {**ADDRESSES, "SMTP_SERVER": self.mail.address})
        rendering.check_returncode()
        text = re.sub(r"^( *)(- )routing_key_file", rf"\1- url: {self.hooks.url}/v2/enqueue\n\1  routing_key_file", rendering.stdout, flags=re.MULTILINE)
        return text.replace("require_tls: true", "require_tls: true\n        tls_config: {insecure_skip_verify: true}")

    def close(self) -> None:
        """Let go of the ports."""
        self.hooks.close()
        self.mail.close()


def render(folder: Path, secrets: Mapping[str, str], addresses: Mapping[str, str] = ADDRESSES) -> subprocess.CompletedProcess[str]:
    """What Alertmanager would be started with, for secrets in the files of a folder."""
    folder.mkdir(exist_ok=True)
    for name, value in secrets.items():
        (folder / name).write_text(f"{value}\n", encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "ALERTMANAGER_CONFIGURATION": str(CONFIGURATION), "ALERTMANAGER_SECRETS": str(folder), **addresses}
    return subprocess.run(["sh", START, "--render"], env=environment, capture_output=True, text=True, check=False)  # noqa: S603, S607 - our own script
