"""Series of samples, and what asks for them: Prometheus, or the services themselves."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_SELECTOR = re.compile(r"\s*([a-zA-Z_:][\w:]*)?\s*(?:\{(.*)\})?\s*", re.DOTALL)
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')

Labels = tuple[tuple[str, str], ...]


class Series(NamedTuple):
    """Samples over time under one set of labels; the metric's name is `__name__`."""

    labels: Mapping[str, str]
    #: Unix time in seconds and value, in the order of time.
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        """The newest value; NaN without one."""
        return self.points[-1][1] if self.points else math.nan


class Span(NamedTuple):
    """A stretch of time, Unix seconds, and how far samples are apart in it."""

    start_s: float
    end_s: float
    step_s: float


class QueryRefused(Exception):
    """The expression cannot be evaluated; the text says why."""


class Metrics(Protocol):
    """What answers expressions; both raise Away, and QueryRefused for what they cannot evaluate."""

    #: What people call it.
    title: str
    #: Whether it takes all of PromQL; otherwise only plain selectors such as `crypto_bot_z{pair="ETHUSDT-BTCUSDT"}`.
    promql: bool
    #: How far back it goes.
    kept_minutes: float

    def over(self, expression: str, span: Span) -> list[Series]:
        """Evaluate at each step of a span."""
        ...

    def now(self, expression: str) -> list[Series]:
        """Evaluate now: one sample a series."""
        ...


def samples_of(exposition: str) -> Iterator[tuple[str, Labels, float]]:
    """Name, labels and value of each sample in Prometheus' text format; what is no sample is passed over."""
    for line in exposition.splitlines():
        if found := _SAMPLE.match(line):
            name, labels, value = found.groups()
            pairs = tuple((label, _unescape(text)) for label, text in _LABEL.findall(labels)) if labels else ()
            try:
                yield name, pairs, float(value)
            except ValueError:
                continue


class Selector:
    """A plain selector: a name and matchers of labels, as PromQL spells them."""

    def __init__(self, text: str) -> None:
        """Raise QueryRefused for anything but a plain selector."""
        found = _SELECTOR.fullmatch(text)
        name, matchers = found.groups() if found else (None, None)
        if not (name or matchers):
            raise QueryRefused(
                'without Prometheus only plain names can be asked for, such as crypto_bot_z or crypto_bot_z{pair="ETHUSDT-BTCUSDT"}; '
                "functions and operators need `PROMETHEUS_URL`"
            )
        self.name = name
        self._tests = list(_tests_of(matchers or ""))

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a series belongs to it."""
        return all(bool(pattern.fullmatch(labels.get(label, ""))) is wanted for label, pattern, wanted in self._tests)


def _tests_of(matchers: str) -> Iterator[tuple[str, re.Pattern[str], bool]]:
    at = 0
    while at < len(matchers.rstrip()):
        found = _MATCHER.match(matchers, at)
        if not found:
            raise QueryRefused(f'the labels cannot be read from here on: {matchers[at:]!r}; an example is {{pair="ETHUSDT-BTCUSDT", leg=~"x|y"}}')
        label, operator, text = found.groups()
        try:
            pattern = re.compile(_unescape(text) if "~" in operator else re.escape(_unescape(text)))
        except re.error as error:
            raise QueryRefused(f"{text!r} is no regular expression ({error})") from error
        yield label, pattern, not operator.startswith("!")
        at = found.end()


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def by_name(series: Iterable[Series], names: Mapping[str, str]) -> dict[str, list[Series]]:
    """Sort series by what their metrics are called here; `names` leads from there to the metric."""
    sorted_: dict[str, list[Series]] = {name: [] for name in names}
    called = {metric: name for name, metric in names.items()}
    for each in series:
        sorted_[called[each.labels["__name__"]]].append(each)
    return sorted_


def selector_of(names: Mapping[str, str], **labels: str) -> str:
    """One selector for several metrics: a page asks once for all it draws."""
    matchers = [f'__name__=~"{"|".join(names.values())}"', *(f'{label}="{value}"' for label, value in labels.items())]
    return f"{{{','.join(matchers)}}}"


def rates(series: Iterable[Series]) -> list[Series]:
    """How fast counters grow, a second; one that falls has begun anew."""
    made = []
    for each in series:
        steps = zip(each.points, each.points[1:], strict=False)
        made.append(Series(each.labels, [(at, (value if value < before else value - before) / (at - then)) for (then, before), (at, value) in steps]))
    return made


def total(series: Iterable[Series]) -> Series:
    """The sum over all pairs at each time; a pair without a value then, such as one that is traded no more, counts with its last one."""
    seen = sorted((at, each.labels.get("pair", ""), value) for each in series for at, value in each.points if not math.isnan(value))
    latest: dict[str, float] = {}
    sums: dict[float, float] = {}
    for at, pair, value in seen:
        latest[pair] = value
        sums[at] = sum(latest.values())
    return Series({}, [*sums.items()])


def events(counters: Iterable[Series]) -> list[tuple[float, Mapping[str, str]]]:
    """When each counter was first seen to have grown, in the order of time."""
    grown = [(at, each.labels) for each in counters for (_, before), (at, value) in zip(each.points, each.points[1:], strict=False) if value > before]
    return sorted(grown, key=lambda event: event[0])
