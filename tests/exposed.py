"""What `/metrics` shows, beside what the catalogues promise."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from common.io.metrics import PrometheusObserver
from common.metrics import Metric, MetricKind
from scripts.service_list import module_of, packages, service_name


def catalogues() -> dict[str, tuple[Metric, ...]]:
    """Every service's catalogue."""
    return {service_name(package): module.CATALOGUE for package in packages() if (module := module_of(package, "metrics"))}


class Silent:
    """A log that nobody reads."""

    def log(self, level: str, event: str, /, **fields: Any) -> None:
        """Forget a line."""


def observer_of(metrics: Sequence[Metric], known: Mapping[str, Collection[str]]) -> PrometheusObserver:
    """As a process has it, without log and registry."""
    return PrometheusObserver(metrics, Silent(), lambda _pair, _state: None, known)


def families(exposition: str, metrics: Sequence[Metric]) -> Iterator[tuple[str, str]]:
    """The metric that each sample belongs to, and the sample's labels."""
    histograms = {metric.name for metric in metrics if metric.kind is MetricKind.HISTOGRAM}
    for line in exposition.splitlines():
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            bare = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
            yield bare if bare in histograms else name, labels.rstrip("}")


def is_the_process_s_own(name: str) -> bool:
    """Whether the client library reports it of itself."""
    return name.startswith(("process_", "python_"))
