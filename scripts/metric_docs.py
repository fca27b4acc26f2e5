"""Write docs/metrics.md from the catalogue: every metric with its kind, unit, labels and meaning.

python -m scripts.metric_docs            write it
python -m scripts.metric_docs --check    status 1 when it is not current
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from common.metrics import COMMON_METRICS, Metric
from scripts.markdown import code, table
from scripts.service_list import ROOT, module_of, packages, service_name

TARGET = ROOT / "docs" / "metrics.md"

_INTRODUCTION = """# Metrics

Made from the code by `python -m scripts.api_docs`; a test fails when it is not current. Change `common/metrics.py` or
`services/<name>/metrics.py`, not this page.

On `/metrics` of every service in Prometheus' text format, beside the process's own (`process_*`, `python_gc_*`). Nothing else is
reported: an undeclared name, kind or label is an error. Counters and histograms whose labels are known beforehand are there from
the start, at 0; a gauge of a pair is there once its value is known. A gauge that a service sets as NaN says that there is no value
now. Sums over pairs and other things worth naming are in `monitoring/prometheus/rules/recording.yml`.
"""


def document() -> str:
    """Make the whole page."""
    return _INTRODUCTION + "\n" + "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield "## Every service\n"
    yield _metrics(COMMON_METRICS)
    for package in packages():
        if module := module_of(package, "metrics"):
            yield f"## {service_name(package)}\n"
            yield _metrics(module.METRICS)


def _metrics(metrics: Sequence[Metric]) -> str:
    return table(
        ("metric", "kind", "unit", "labels", "meaning"),
        [
            (code(metric.name), metric.kind.value, metric.unit, "; ".join(_label(metric, label) for label in metric.labels), metric.meaning)
            for metric in metrics
        ],
    )


def _label(metric: Metric, label: str) -> str:
    values = metric.values.get(label, ())
    return f"{label}: {', '.join(values)}" if values else label


def main(arguments: Sequence[str]) -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.metric_docs", description="Write docs/metrics.md from the catalogue.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when the page is not current")
    check = parser.parse_args(arguments).check
    text = document()
    if not check:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.stderr.write("docs/metrics.md is not current; run: python -m scripts.api_docs\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
