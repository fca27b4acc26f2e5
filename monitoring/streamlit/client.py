"""Asks services over HTTP; whatever goes wrong is one error that says what to do."""

import http.client
import json
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from common.settings import Settings, setting

TIMEOUT_S = 1.0
_ADDRESS = r"^http://[^\s/@]+/?$"


class DashboardSettings(Settings, frozen=True, kw_only=True):
    """Where the dashboard asks."""

    execution_url: Annotated[str, setting("address of execution-service", "http://127.0.0.1:8003", pattern=_ADDRESS)] = "http://127.0.0.1:8003"
    risk_manager_url: Annotated[str, setting("address of risk-manager-service", "http://127.0.0.1:8004", pattern=_ADDRESS)] = "http://127.0.0.1:8004"


class ServiceAway(Exception):
    """A service gives no answer that can be shown; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one service, whose address the named variable sets."""

    service: str
    variable: str
    address: str

    def get(self, path: str) -> Any:
        """Ask for a page and decode its JSON; raises ServiceAway."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            status, body = response.status, response.read()
            answer = json.loads(body) if status == http.client.OK else None
        except (OSError, OverflowError, ValueError, http.client.HTTPException) as error:
            raise ServiceAway(
                f"{self.service} does not answer at {self.address} ({error}): start it with `scripts/demo.sh --keep-going`, "
                f"or set `{self.variable}` to the address where it listens and start this page anew"
            ) from error
        finally:
            connection.close()
        if answer is None:
            raise ServiceAway(f"what listens at {self.address} answers {path} with status {status}: is it {self.service} (`{self.variable}`)? Its log says why")
        return answer
