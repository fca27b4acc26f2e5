"""All dashboards, and the links by which alerts lead to the panel that shows their cause."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from scripts.dashboards.frame import Board, document, placed
from scripts.dashboards.infrastructure import INFRASTRUCTURE
from scripts.dashboards.models import MODELS
from scripts.dashboards.panels import Json
from scripts.dashboards.pipeline import PIPELINE
from scripts.dashboards.trading import TRADING

#: The first is the home page.
BOARDS = (TRADING, PIPELINE, MODELS, INFRASTRUCTURE)

_ALERT = re.compile(r"^ {6}- alert: (\w+)\n(?:(?! {6}- ).*\n)*", flags=re.MULTILINE)
_LINK = re.compile(r"^( {10}dashboard_url: ).*$", flags=re.MULTILINE)


def documents() -> dict[str, Json]:
    """Every dashboard by the name of its file."""
    return {f"{board.name}.json": document(board, [other for other in BOARDS if other is not board]) for board in BOARDS}


class Place(NamedTuple):
    """Where the cause of an alert shows."""

    board: Board
    panel: int


def places() -> Iterator[tuple[str, Place]]:
    """Each alert that a panel names, and where that is."""
    for board in BOARDS:
        for panel, made in placed(board):
            for alert in panel.alerts if panel else ():
                yield alert, Place(board, made["id"])


def with_links(rules: str) -> str:
    """A file of rules whose alerts lead to their panels; raises ValueError for one that no panel names."""
    known = dict(places())

    def led(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise ValueError(f"{found[1]}: no panel shows its cause; name it in the `alerts` of one in scripts/dashboards")
        return _LINK.sub(lambda line: line[1] + _link(known[found[1]], found[0]), found[0])

    return _ALERT.sub(led, rules)


def _link(place: Place, rule: str) -> str:
    """The panel alone, with the pair or the service chosen that the alert speaks of."""
    said = _LINK.sub("", rule)
    chosen = ["&var-pair={{ $labels.pair }}"] if "$labels.pair" in said else []
    chosen += ["&var-service={{ $labels.job }}"] if place.board.by_service and "$labels.job" in said else []
    return f'"{{{{ $externalLabels.grafana_url }}}}/d/{place.board.uid}?viewPanel=panel-{place.panel}{"".join(chosen)}"'
