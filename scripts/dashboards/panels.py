"""Panels of Grafana in its classic JSON: what is drawn, in which unit, from which expressions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from monitoring import palette

Json = dict[str, Any]
#: Values from which on another colour holds; the first holds below all.
Steps = Sequence[tuple[float | None, str]]

COLUMNS = 24
DATA_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}

USD, BPS, BARS, USD_SECONDS = "currencyUSD", "suffix: bps", "suffix: bars", "suffix: USD s"
SECONDS, RATIO, BYTES, PER_SECOND = "s", "percentunit", "bytes", "cps"
COUNT, NUMBER = "short", "none"
#: For a count that should be 0.
NONE_IS_GOOD: Steps = ((None, palette.GOOD), (1, palette.CRITICAL))
UNITS = frozenset({USD, BPS, BARS, USD_SECONDS, SECONDS, RATIO, BYTES, PER_SECOND, COUNT, NUMBER})


class Query(NamedTuple):
    """An expression and what its series are called; `{{label}}` stands for a label."""

    expression: str
    legend: str
    color: str = ""
    dashed: bool = False
    #: The legend of the series down to which the space is filled, for a band.
    band_to: str = ""


def limit(expression: str, legend: str = "limit") -> Query:
    """What may not be exceeded."""
    return Query(expression, legend, palette.LIMIT, dashed=True)


class Panel(NamedTuple):
    """A panel without its place; `alerts` are those whose cause it shows."""

    title: str
    description: str
    body: Json
    width: int
    alerts: tuple[str, ...] = ()


class Row(NamedTuple):
    """Panels side by side under a heading; repeated for each value of a variable where one is named."""

    title: str
    height: int
    panels: tuple[Panel, ...]
    repeat: str = ""


def lines(  # noqa: PLR0913 - the ways in which panels of lines differ
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    alerts: tuple[str, ...] = (),
    colors: Mapping[str, str] | None = None,
    limits: Steps = (),
    style: str = "line",
    stacked: bool = False,
    minimum: float | None = None,
) -> Panel:
    """Values over time. `colors` are by the name of a series, `limits` are drawn as dashed lines, `style` is line, bars or points."""
    custom = {
        "drawStyle": style,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "pointSize": 5,
        "fillOpacity": 60 if style == "bars" else 15 if stacked else 0,
        "showPoints": "always" if style == "points" else "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    defaults: Json = {"unit": unit, "color": {"mode": "palette-classic-by-name"}, "custom": custom, "thresholds": _thresholds(limits)}
    if minimum is not None:
        defaults["min"] = minimum
    body = {
        "type": "timeseries",
        "fieldConfig": {"defaults": defaults, "overrides": [*_styles(queries), *_named(colors or {})]},
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": _targets(queries),
    }
    return Panel(title, description, body, width, alerts)


def stat(  # noqa: PLR0913 - the ways in which numbers differ
    title: str,
    description: str,
    unit: str,
    expression: str,
    steps: Steps = (),
    *,
    states: Mapping[str, str] | None = None,
    name: str = "",
    link: str = "",
) -> Panel:
    """The newest value; `states` are names and colours of the values from 0 on, `link` is the uid of the dashboard that tells more.

    With `name`, such as `{{version}}`, that is shown in place of the value.
    """
    defaults: Json = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": _thresholds(steps), "mappings": _mappings(states or {})}
    if link:
        defaults["links"] = [{"title": "More", "url": f"/d/{link}?${{__url_time_range}}&${{__all_variables}}"}]
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "auto",
        "textMode": "name" if name else "value",
        "colorMode": "value",
        "graphMode": "none" if states else "area",
        "justifyMode": "auto",
    }
    body = {
        "type": "stat",
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": _targets((Query(expression, name or title),)),
    }
    return Panel(title, description, body, 3)


def timeline(title: str, description: str, states: Mapping[str, str], *queries: Query, width: int = 12, alerts: tuple[str, ...] = ()) -> Panel:
    """What state holds from when to when; `states` are names and colours of the values from 0 on."""
    custom = {"lineWidth": 0, "fillOpacity": 80}
    defaults = {"unit": NUMBER, "color": {"mode": "thresholds"}, "custom": custom, "thresholds": _thresholds(()), "mappings": _mappings(states)}
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.85,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    body = {"type": "state-timeline", "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": _targets(queries)}
    return Panel(title, description, body, width, alerts)


def heatmap(title: str, description: str, unit: str, expression: str, *, width: int = 12) -> Panel:
    """How many observations fell into which bucket of a histogram; `expression` is by `le`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Turbo", "exponent": 0.5, "steps": 64, "reverse": False, "fill": palette.LEG_A},
        "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "auto"},
        "cellValues": {"unit": COUNT},
        "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
        "legend": {"show": True},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
    }
    custom = {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": {"type": "linear"}}
    body = {
        "type": "heatmap",
        # Wide enough cells to be seen.
        "maxDataPoints": 120,
        "fieldConfig": {"defaults": {"unit": unit, "custom": custom}, "overrides": []},
        "options": options,
        "targets": [{**target, "format": "heatmap"} for target in _targets((Query(expression, "{{le}}"),))],
    }
    return Panel(title, description, body, width)


def table(title: str, description: str, columns: Sequence[tuple[Query, str]], *, width: int = 12, alerts: tuple[str, ...] = ()) -> Panel:
    """The newest values, a row for each combination of labels; a column has its query's legend for a heading, and a unit, or none to be hidden."""
    targets = [{**target, "format": "table", "instant": True, "range": False} for target in _targets([query for query, _ in columns])]
    names = ["Value"] if len(columns) == 1 else [f"Value #{target['refId']}" for target in targets]
    shown = {name: (query.legend, unit) for name, (query, unit) in zip(names, columns, strict=True) if unit}
    organised = {
        "excludeByName": {"Time": True, **{name: True for name in names if name not in shown}},
        "renameByName": {name: heading for name, (heading, _) in shown.items()},
    }
    units = [{"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "unit", "value": unit}]} for heading, unit in shown.values()]
    body = {
        "type": "table",
        "fieldConfig": {"defaults": {"unit": NUMBER, "thresholds": _thresholds(())}, "overrides": units},
        "options": {"showHeader": True, "cellHeight": "sm"},
        "targets": targets,
        "transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": organised}],
    }
    return Panel(title, description, body, width, alerts)


def _targets(queries: Sequence[Query]) -> list[Json]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": dict(DATA_SOURCE),
            "editorMode": "code",
            "expr": query.expression,
            "legendFormat": query.legend,
            "format": "time_series",
            "instant": False,
            "range": True,
        }
        for number, query in enumerate(queries)
    ]


def _thresholds(steps: Steps) -> Json:
    known = steps if steps and steps[0][0] is None else ((None, palette.NEUTRAL), *steps)
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in known]}


def _mappings(states: Mapping[str, str]) -> list[Json]:
    named = {str(value): {"text": name, "color": color, "index": value} for value, (name, color) in enumerate(states.items())}
    return [{"type": "value", "options": named}] if named else []


def _styles(queries: Sequence[Query]) -> list[Json]:
    """How the series of each query are drawn."""
    found = []
    for target, query in zip(_targets(queries), queries, strict=True):
        properties: list[Json] = []
        if query.color:
            properties += [{"id": "color", "value": {"mode": "fixed", "fixedColor": query.color}}]
        if query.dashed:
            properties += [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}]
        if query.band_to:
            properties += [{"id": "custom.fillBelowTo", "value": query.band_to}, {"id": "custom.fillOpacity", "value": 12}]
        if properties:
            found += [{"matcher": {"id": "byFrameRefID", "options": target["refId"]}, "properties": properties}]
    return found


def _named(colors: Mapping[str, str]) -> list[Json]:
    return [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]}
        for name, color in colors.items()
    ]
