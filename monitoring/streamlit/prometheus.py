"""Series out of Prometheus."""

import json
import math
from typing import Any

from monitoring.streamlit.client import Client, Odd
from monitoring.streamlit.series import QueryRefused, Series, Span

#: Its words for what lies with the expression; all others, such as a time-out, lie with Prometheus.
_REFUSALS = frozenset({"bad_data", "execution"})
_STARTING = 503


class Prometheus:
    """Evaluates any PromQL."""

    title = "Prometheus"
    promql = True
    kept_minutes = math.inf

    def __init__(self, client: Client) -> None:
        self._client = client

    def over(self, expression: str, span: Span) -> list[Series]:
        """Evaluate at each step of a span."""
        asked = {"start": f"{span.start_s:.3f}", "end": f"{span.end_s:.3f}", "step": f"{span.step_s:g}"}
        return [Series(each["metric"], _points(each.get("values", []))) for each in self._result("query_range", expression, **asked)]

    def now(self, expression: str) -> list[Series]:
        """Evaluate now."""
        result = self._result("query", expression)
        if result and not isinstance(result[0], dict):  # A scalar is one sample without a series.
            return [Series({}, _points([result]))]
        return [Series(each["metric"], _points([each["value"]])) for each in result]

    def _result(self, kind: str, expression: str, **asked: str) -> list[Any]:
        reply = self._client.post_form(f"/api/v1/{kind}", {"query": expression, "timeout": f"{0.8 * self._client.timeout_s:g}", **asked})
        try:
            answer = json.loads(reply.body)
            if answer["status"] == "success":
                found = answer["data"]["result"]
                return found if isinstance(found, list) else []
        except (ValueError, KeyError, TypeError) as error:
            raise Odd(self._no_answer(reply.status)) from error
        if answer.get("errorType") in _REFUSALS:
            raise QueryRefused(str(answer.get("error", "no reason given")))
        raise Odd(f"Prometheus at {self._client.address} broke off (`{reply.reason}`): it has too much to do, or was asked for too much")

    def _no_answer(self, status: int) -> str:
        if status == _STARTING:
            return f"Prometheus at {self._client.address} is still starting (status {status}): it reads what it has written, which may take minutes"
        return f"what listens at {self._client.address} answers like no Prometheus (status {status}): check `PROMETHEUS_URL`"


def _points(values: list[Any]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in values]
