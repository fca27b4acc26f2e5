"""Series out of Prometheus."""

import json
from typing import Any

from monitoring.streamlit.client import Away, Client
from monitoring.streamlit.series import QueryRefused, Series, Span


class Prometheus:
    """Evaluates any PromQL."""

    title = "Prometheus"
    promql = True

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
        reply = self._client.post_form(f"/api/v1/{kind}", {"query": expression, "timeout": "4s", **asked})
        try:
            answer = json.loads(reply.body)
            if answer["status"] == "success":
                found = answer["data"]["result"]
                return found if isinstance(found, list) else []
        except (ValueError, KeyError, TypeError) as error:
            raise Away(f"what listens at {self._client.address} answers like no Prometheus (status {reply.status}): check `PROMETHEUS_URL`") from error
        raise QueryRefused(str(answer.get("error", "no reason given")))


def _points(values: list[Any]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in values]
