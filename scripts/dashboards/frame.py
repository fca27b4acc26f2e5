"""What makes panels a dashboard: places, variables, annotations and the ways to the other dashboards."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from monitoring import palette
from scripts.dashboards.panels import COLUMNS, DATA_SOURCE, Json, Panel, Row

TAG = "crypto-bot"
#: Grafana's own number for this form of JSON.
SCHEMA_VERSION = 41
HEADING_HEIGHT = 1

PAIR_QUERY = "label_values(crypto_bot_starting_equity_usd, pair)"
SERVICE_QUERY = "label_values(up, job)"

DECISIONS = 'sum by (pair, action) (increase(crypto_bot_decisions_total{pair=~"$pair"}[$__rate_interval]))'
HALTS = "max(crypto_bot_risk_halts)"
#: When each process began, milliseconds.
RESTARTS = 'process_start_time_seconds{job=~".+-service"} * 1000'


class Board(NamedTuple):
    """A dashboard; `by_service` adds a choice of services."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    by_service: bool = False

    @property
    def uid(self) -> str:
        """By which links find it."""
        return uid_of(self.name)


def uid_of(name: str) -> str:
    """The uid of the dashboard of that name."""
    return f"{TAG}-{name}"


def document(board: Board, others: Sequence[Board]) -> Json:
    """The whole dashboard, as a file holds it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "timezone": "browser",
        "links": [_link(other) for other in others],
        "templating": {
            "list": [_data_source(), _choice("pair", "Pair", PAIR_QUERY), *([_choice("service", "Service", SERVICE_QUERY)] if board.by_service else ())]
        },
        "annotations": {"list": list(_annotations())},
        "panels": [each for _, each in placed(board)],
    }


def placed(board: Board) -> Iterator[tuple[Panel | None, Json]]:
    """Headings and panels with ids and places, from left to right and from top to bottom; a heading has no panel."""
    top = 0
    for row in board.rows:
        yield None, _heading(row, top)
        top += HEADING_HEIGHT
        left = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + row.height
            place = {"x": left, "y": top, "w": panel.width, "h": row.height}
            about = {"id": number_of(panel.title), "title": panel.title, "description": panel.description, "datasource": dict(DATA_SOURCE), "gridPos": place}
            yield panel, {**about, **panel.body}
            left += panel.width
        top += row.height


def number_of(title: str) -> int:
    """A panel's id: what leads to it stays right while it keeps its title, whatever comes before it."""
    return crc32(title.encode()) % 100_000


def _heading(row: Row, top: int) -> Json:
    made: Json = {"id": number_of(f"row {row.title}"), "type": "row", "title": row.title, "collapsed": False, "panels": []}
    made["gridPos"] = {"x": 0, "y": top, "w": COLUMNS, "h": HEADING_HEIGHT}
    return {**made, "repeat": row.repeat} if row.repeat else made


def _link(other: Board) -> Json:
    return {
        "type": "link",
        "title": other.title,
        "tooltip": other.description,
        "url": f"/d/{other.uid}",
        "icon": "dashboard",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def _data_source() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
        "regex": "",
        "options": [],
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
    }


def _choice(name: str, label: str, query: str) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": dict(DATA_SOURCE),
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "current": {"text": ["All"], "value": ["$__all"]},
        "allValue": ".+",
        "regex": "",
        "options": [],
        # With every change of the time range.
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "includeAll": True,
        "multi": True,
    }


def _annotations() -> Iterator[Json]:
    """What people wrote down in Grafana, and what happened by itself."""
    yield {
        "builtIn": 1,
        "type": "dashboard",
        "name": "Annotations & Alerts",
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "iconColor": palette.SIGNAL,
        "enable": True,
        "hide": True,
    }
    yield _annotation("Decisions", DECISIONS, palette.LEG_A, titleFormat="{{action}} {{pair}}", textFormat="decided", tagKeys="pair,action")
    yield _annotation("Halts", HALTS, palette.CRITICAL, titleFormat="Trading is halted", textFormat="at least one halt is in force", tagKeys="")
    yield _annotation("Restarts", RESTARTS, palette.NEUTRAL, titleFormat="{{job}} started", textFormat="{{instance}}", tagKeys="job", useValueForTime=True)


def _annotation(name: str, expression: str, color: str, **more: Any) -> Json:
    common = {"datasource": dict(DATA_SOURCE), "refId": "Anno", "step": "10s", "enable": True, "hide": False}
    return {"name": name, "expr": expression, "iconColor": color, **common, **more}
