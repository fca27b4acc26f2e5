"""What is wrong with a dashboard: the rules that each must keep, for Grafana itself is not asked."""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from common.metrics import Metric
from scripts.dashboards import panels as units
from tests.exposed import catalogues
from tests.monitoring.test_alerts import FOREIGN, RECORDED, names_in

Json = dict[str, Any]

CATALOGUE: Mapping[str, Metric] = {metric.name: metric for metrics in catalogues().values() for metric in metrics}
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Grafana's own.
GLOBAL = {"__rate_interval", "__url_time_range", "__all_variables"}
#: Counters that are read as they stand: a process has counted them all when it is first scraped.
FROM_THE_START = {"crypto_bot_states_restored_total"}
_PER_WINDOW = re.compile(r"\b(?:i?rate|increase|i?delta|deriv|changes)\(")
#: The unit of a panel by the unit that the catalogue gives a metric; a plain number may be any.
_UNITS = {
    "USD": units.USD,
    "bps": units.BPS,
    "s": units.SECONDS,
    "bars": units.BARS,
    "bytes": units.BYTES,
    "0 to 1": units.RATIO,
    "USD x s": units.USD_SECONDS,
}


def panels(document: Json) -> list[Json]:
    """All but the headings."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions(document: Json) -> Iterator[tuple[str, str]]:
    """Where each expression stands, and itself: of panels, annotations and variables."""
    for panel in panels(document):
        yield from ((f"{panel['title']} {target['refId']}", target["expr"]) for target in panel["targets"])
    yield from ((annotation["name"], annotation["expr"]) for annotation in document["annotations"]["list"] if "expr" in annotation)


def problems(document: Json, uids: Collection[str]) -> Iterator[str]:
    """Every rule that is broken; `uids` are those of all dashboards."""
    yield from _form(document)
    yield from _places(document)
    yield from _variables(document)
    yield from _links(document, uids)
    for panel in panels(document):
        yield from (f"{panel['title']}: {problem}" for problem in (*_panel(panel), *_unit(panel)))
    for where, expression in expressions(document):
        yield from (f"{where}: {problem}" for problem in _expression(expression))


def _form(document: Json) -> Iterator[str]:
    if "spec" in document or "id" in document or document["schemaVersion"] not in range(39, 42):
        yield "is not classic JSON"
    if document["editable"]:
        yield "can be edited, and the next start undoes it"
    for what in ("id", "title"):
        found = [panel[what] for panel in document["panels"]]
        if doubled := {each for each in found if found.count(each) > 1}:
            yield f"{what} used twice: {doubled}"


def _places(document: Json) -> Iterator[str]:
    for panel in document["panels"]:
        place = panel["gridPos"]
        if place["x"] < 0 or place["y"] < 0 or place["w"] < 1 or place["h"] < 1 or place["x"] + place["w"] > units.COLUMNS:
            yield f"{panel['title']}: lies outside the {units.COLUMNS} columns"
    for one, other in itertools.combinations(document["panels"], 2):
        here, there = one["gridPos"], other["gridPos"]
        if all(here[start] < there[start] + there[size] and there[start] < here[start] + here[size] for start, size in (("x", "w"), ("y", "h"))):
            yield f"{one['title']} and {other['title']} overlap"


def _variables(document: Json) -> Iterator[str]:
    known = {variable["name"] for variable in document["templating"]["list"]}
    body = {key: value for key, value in document.items() if key != "templating"}
    used = set(re.findall(r"\$\{?(\w+)", str(body)))
    if unknown := used - known - GLOBAL:
        yield f"variables that are not there: {unknown}"
    if idle := known - used:
        yield f"variables that nothing uses: {idle}"
    for variable in document["templating"]["list"]:
        if variable["type"] == "query" and variable["datasource"] != DATA_SOURCE:
            yield f"variable {variable['name']}: asks no chosen data source"
    for annotation in document["annotations"]["list"]:
        if "expr" in annotation and annotation["datasource"] != DATA_SOURCE:
            yield f"annotation {annotation['name']}: asks no chosen data source"


def _links(document: Json, uids: Collection[str]) -> Iterator[str]:
    led = {link["url"].removeprefix("/d/") for link in document["links"]}
    if led != set(uids) - {document["uid"]}:
        yield f"leads to {led}"
    if not all(link["keepTime"] and link["includeVars"] for link in document["links"]):
        yield "a link forgets pair or time"
    for panel in panels(document):
        for link in panel["fieldConfig"]["defaults"].get("links", ()):
            path, _, query = link["url"].partition("?")
            if path.removeprefix("/d/") not in uids:
                yield f"{panel['title']}: leads to {path}"
            if query != "${__url_time_range}&${__all_variables}":
                yield f"{panel['title']}: a link forgets pair or time"


def _panel(panel: Json) -> Iterator[str]:
    if not panel["title"].strip() or not panel["description"].endswith("."):
        yield "needs a title and a sentence for a description"
    if panel["datasource"] != DATA_SOURCE or any(target["datasource"] != DATA_SOURCE for target in panel["targets"]):
        yield "asks no chosen data source"
    if not panel["targets"]:
        yield "asks nothing"
    references = [target["refId"] for target in panel["targets"]]
    if len(set(references)) < len(references):
        yield "refId used twice"
    if not all(target["legendFormat"] for target in panel["targets"]):
        yield "has a series without a legend"


def _unit(panel: Json) -> Iterator[str]:
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if unit not in units.UNITS:
        yield f"has no unit: {unit}"
    # What is counted, compared or divided has another unit than the metric; a table's columns have theirs.
    plain = [target["expr"] for target in panel["targets"] if not re.search(rf"{_PER_WINDOW.pattern}|\bcount\(|\bbool\b|/", target["expr"])]
    for name in {name for expression in plain for name in names_in(expression)} if panel["type"] != "table" else ():
        if (expected := _unit_of(name)) and expected != unit:
            yield f"{name} is in {expected}, drawn as {unit}"


def _unit_of(name: str) -> str | None:
    """The unit in which a metric or a recorded series must be drawn, if it must."""
    level, _, rest = name.partition(":")
    metric, _, operation = rest.partition(":")
    if operation.startswith("ratio"):
        return units.RATIO
    declared = CATALOGUE.get(metric if rest else level)
    return _UNITS.get(declared.unit) if declared else None


def _expression(expression: str) -> Iterator[str]:
    windows = len(_PER_WINDOW.findall(expression))
    if expression.count("[$__rate_interval]") != windows or expression.count("[") != windows:
        yield "a window that does not follow the zoom"
    for name in names_in(expression):
        bare = re.sub(r"_(bucket|sum|count)$", "", name)
        if bare not in CATALOGUE and name not in RECORDED and not FOREIGN.match(name):
            yield f"nobody reports {name}"
        if name.endswith("_total") and name not in FROM_THE_START and not re.search(rf"\b(?:rate|increase)\({name}\b", expression):
            yield f"{name} is a counter, and a restart of its service would show"
