"""Series out of the services' own /metrics, of which the page keeps a short history: no Prometheus is needed."""

import contextlib
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from monitoring.streamlit.client import Away, Client
from monitoring.streamlit.series import Labels, Selector, Series, Span, samples_of

#: How often services are asked at most, and how much is kept of each series.
SCRAPE_INTERVAL_S = 1.0
KEPT_SAMPLES = 1800
#: A series that was not seen for so long has no value now.
FRESH_S = 15.0


class _Track:
    """The newest samples of one series."""

    __slots__ = ("times", "values")

    def __init__(self) -> None:
        self.times, self.values = array("d"), array("d")

    def add(self, at_s: float, value: float) -> None:
        self.times.append(at_s)
        self.values.append(value)
        # Cut seldom, for each cut moves what is left.
        if len(self.times) > KEPT_SAMPLES + KEPT_SAMPLES // 4:
            del self.times[:-KEPT_SAMPLES], self.values[:-KEPT_SAMPLES]


class Direct:
    """Evaluates plain selectors over what it has seen itself."""

    title = "the services themselves"
    promql = False
    kept_minutes = KEPT_SAMPLES * SCRAPE_INTERVAL_S / 60

    def __init__(self, clients: Sequence[Client], clock: Callable[[], float] = time.time) -> None:
        self._clients, self._clock = clients, clock
        self._tracks: dict[str, dict[Labels, _Track]] = {}
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._problems: dict[str, str] = {}

    def over(self, expression: str, span: Span) -> list[Series]:
        """The last sample in each step of a span."""
        selector = Selector(expression)
        self.look()
        # What was looked at for this answer is part of it.
        span = span._replace(end_s=max(span.end_s, self._looked_at))
        return [series for series in self._of(selector, span) if series.points]

    def now(self, expression: str) -> list[Series]:
        """The newest sample of each series that was seen just now."""
        selector = Selector(expression)
        self.look()
        now_s = self._clock()
        return [Series(each.labels, each.points[-1:]) for each in self._of(selector, Span(now_s - FRESH_S, now_s, 0.0)) if each.points]

    def look(self) -> None:
        """Ask all services, unless that was done just now; raises Away when not one of them answers."""
        with self._lock:
            now_s = self._clock()
            if now_s - self._looked_at >= SCRAPE_INTERVAL_S:
                self._looked_at = now_s
                with ThreadPoolExecutor(len(self._clients)) as pool:
                    self._problems = dict(pool.map(lambda client: self._scrape(client, now_s), self._clients))
            problems = [problem for problem in self._problems.values() if problem]
        if len(problems) == len(self._clients):
            raise Away(problems[0])

    def keep_looking(self) -> None:
        """Look again and again, in a thread that ends with the process, so that a page that is opened later has a history."""

        def run() -> None:
            while True:
                with contextlib.suppress(Away):  # Whoever asks is told.
                    self.look()
                time.sleep(SCRAPE_INTERVAL_S)

        threading.Thread(target=run, name="history", daemon=True).start()

    def _scrape(self, client: Client, now_s: float) -> tuple[str, str]:
        try:
            exposition = client.text("/metrics")
        except Away as error:
            return client.service, str(error)
        for name, labels, value in samples_of(exposition):
            # Nothing is made of buckets here, and they are most of the lines.
            if not name.endswith("_bucket"):
                tracks = self._tracks.setdefault(name, {})
                tracks.setdefault((*labels, ("job", client.service)), _Track()).add(now_s, value)
        return client.service, ""

    def _of(self, selector: Selector, span: Span) -> Iterator[Series]:
        with self._lock:
            names = [selector.name] if selector.name else list(self._tracks)
            known = [({"__name__": name, **dict(labels)}, track) for name in names for labels, track in self._tracks.get(name, {}).items()]
            found = [(labels, list(zip(track.times, track.values, strict=True))) for labels, track in known if selector.takes(labels)]
        yield from (Series(labels, _thinned(points, span)) for labels, points in found)


def _thinned(points: Sequence[tuple[float, float]], span: Span) -> list[tuple[float, float]]:
    inside = [point for point in points if span.start_s <= point[0] <= span.end_s]
    if not span.step_s:
        return inside
    return list({int(at // span.step_s): (at, value) for at, value in inside}.values())
