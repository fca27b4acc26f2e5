"""What services report: Prometheus in operation, plain dictionaries in tests."""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from common.metrics import PROBLEM_LEVELS, PROBLEMS_LOGGED, Metric, MetricKind

Labels = tuple[tuple[str, str], ...]
PairStateSink = Callable[[str, Mapping[str, Any]], None]

_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_NO_VALUES: Mapping[str, Collection[str]] = MappingProxyType({})


class LogWriter(Protocol):
    """What writes log lines; `common.io.logs.JsonLogger` in operation."""

    def log(self, level: str, event: str, /, **fields: Any) -> None:
        """Write a line unless the level is filtered out."""
        ...


class Catalogue:
    """The metrics that may be reported; anything else is a mistake in the program and raises ValueError."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = {metric.name: metric for metric in metrics}
        if len(self.metrics) != len(metrics):
            names = [metric.name for metric in metrics]
            raise ValueError(f"declared twice: {', '.join(sorted({name for name in names if names.count(name) > 1}))}")

    def check(self, kind: MetricKind, name: str, labels: Sequence[str]) -> Metric:
        """Find the metric of that name; raises ValueError unless kind and labels are the declared ones."""
        metric = self.metrics.get(name)
        if metric is None or metric.kind is not kind:
            raise ValueError(f"{name} is not declared as a {kind}; declare it in the service's metrics.py")
        if set(labels) != set(metric.labels):
            raise ValueError(f"{name} takes the labels {metric.labels}, not {tuple(labels)}")
        return metric


class _Children(dict[tuple[Any, ...], Callable[[float], None]]):
    """Bound `inc`, `set` or `observe` by name and labels as given; resolved once, then one dictionary look-up."""

    def __init__(self, catalogue: Catalogue, kind: MetricKind, method: str, registry: CollectorRegistry, known: Mapping[str, Collection[str]]) -> None:
        super().__init__()
        self._catalogue, self._kind, self._method = catalogue, kind, method
        self.families = {metric.name: _family(metric, registry) for metric in catalogue.metrics.values() if metric.kind is kind}
        # Touched, so that it is there from the start: what is first seen at 1 has not grown, for Prometheus.
        for name in self.families:
            metric = catalogue.metrics[name]
            if not metric.labels:
                touched = self[name,]
                if kind is MetricKind.GAUGE:
                    touched(metric.starts_at)
            elif kind is not MetricKind.GAUGE:  # Zero would be a statement about a pair.
                for labels in metric.known(known):
                    self[name, *labels]

    def __missing__(self, key: tuple[Any, ...]) -> Callable[[float], None]:
        name, *labels = key
        self._catalogue.check(self._kind, name, [label for label, _ in labels])
        family = self.families[name]
        child = family.labels(**dict(labels)) if labels else family
        self[key] = method = getattr(child, self._method)
        return method  # type: ignore[no-any-return]  # getattr by name

    def forget(self, label: tuple[str, str]) -> None:
        """Show nothing any more that carries a label."""
        for key in [key for key in tuple(self) if label in key]:
            name, *labels = key
            del self[key]
            given = dict(labels)
            self.families[name].remove(*(given[each] for each in self._catalogue.metrics[name].labels))


def _family(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    if metric.kind is MetricKind.COUNTER:
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    if metric.kind is MetricKind.GAUGE:
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)


class PrometheusObserver:
    """Reports to Prometheus, the log and the registry's cache of pair states.

    `known` are values of labels that the settings tell, such as the pairs: their counters are there from the start, at 0.
    """

    def __init__(self, metrics: Sequence[Metric], logger: LogWriter, pair_states: PairStateSink, known: Mapping[str, Collection[str]] = _NO_VALUES) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        catalogue = Catalogue(metrics)
        self._counters = _Children(catalogue, MetricKind.COUNTER, "inc", self._registry, known)
        self._gauges = _Children(catalogue, MetricKind.GAUGE, "set", self._registry, known)
        self._histograms = _Children(catalogue, MetricKind.HISTOGRAM, "observe", self._registry, known)
        self._logger = logger
        self._pair_states = pair_states

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counters[name, *labels.items()](amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name, *labels.items()](value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add to a histogram."""
        self._histograms[name, *labels.items()](value)

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Write a log line; one that reports a problem is counted."""
        if level in PROBLEM_LEVELS and PROBLEMS_LOGGED in self._counters.families:
            self.count(PROBLEMS_LOGGED, level=level)
        self._logger.log(level, event, **fields)

    def pair_state(self, pair: str, state: Mapping[str, Any]) -> None:
        """Hand the last state of a pair to the registry."""
        self._pair_states(pair, state)

    def forget_pair(self, pair: str) -> None:
        """Show no gauge of a pair any more."""
        self._gauges.forget(("pair", pair))

    def total(self, name: str) -> float:
        """Sum of a counter over all its labels."""
        return sum(sample.value for metric in self._counters.families[name].collect() for sample in metric.samples)

    def level(self, name: str) -> float:
        """Value of a gauge without labels."""
        return sum(sample.value for metric in self._gauges.families[name].collect() for sample in metric.samples)

    def distribution(self, name: str) -> tuple[float, float]:
        """Count and sum of a histogram without labels."""
        samples = {sample.name: sample.value for metric in self._histograms.families[name].collect() for sample in metric.samples if not sample.labels}
        return samples[f"{name}_count"], samples[f"{name}_sum"]

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format; takes milliseconds, so not for the event loop."""
        return generate_latest(self._registry)


class LogLine(NamedTuple):
    """A line that was logged."""

    level: str
    event: str
    fields: Mapping[str, Any]


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


class RecordingObserver:
    """Keeps what was reported, by name and labels sorted by label; for tests.

    With a catalogue it refuses, as in operation, what is not declared.
    """

    def __init__(self, metrics: Sequence[Metric] | None = None) -> None:
        self._catalogue = None if metrics is None else Catalogue(metrics)
        self._lock = threading.Lock()
        self.counts: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        self.gauges: dict[tuple[str, Labels], float] = {}
        self.observations: defaultdict[tuple[str, Labels], list[float]] = defaultdict(list)
        self.logs: list[LogLine] = []
        self.pair_states: dict[str, Mapping[str, Any]] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._check(MetricKind.COUNTER, name, labels)
        with self._lock:
            self.counts[name, _sorted(labels)] += amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._check(MetricKind.GAUGE, name, labels)
        self.gauges[name, _sorted(labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add to a histogram."""
        self._check(MetricKind.HISTOGRAM, name, labels)
        with self._lock:
            self.observations[name, _sorted(labels)].append(value)

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Keep a log line."""
        self.logs.append(LogLine(level, event, fields))

    def pair_state(self, pair: str, state: Mapping[str, Any]) -> None:
        """Keep the last state of a pair."""
        self.pair_states[pair] = dict(state)

    def forget_pair(self, pair: str) -> None:
        """Keep no gauge of a pair any more."""
        self.gauges = {(name, labels): value for (name, labels), value in self.gauges.items() if ("pair", pair) not in labels}

    def total(self, name: str, labels: Mapping[str, str] = _NO_LABELS) -> float:
        """Sum of a counter over every child that carries the given labels."""
        wanted = set(labels.items())
        with self._lock:
            return sum(value for (counted, given), value in self.counts.items() if counted == name and wanted <= set(given))

    def events(self, event: str) -> list[LogLine]:
        """Find the log lines of one event."""
        return [line for line in self.logs if line.event == event]

    def _check(self, kind: MetricKind, name: str, labels: Mapping[str, str]) -> None:
        if self._catalogue is not None:
            self._catalogue.check(kind, name, list(labels))
