"""Whether what was sampled over a long run stays where it was: memory, open files, lag."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, linear_regression, median, stdev
from typing import Any, NamedTuple

#: Memory may drift by this share of its mean, or by so many MB, before the drift is more than noise.
NOISE_SHARE, NOISE_MB = 0.02, 3.0
#: Open files that may come and go: requests of those who look.
FILES_NOISE = 4
#: A lag that has grown by less than so many records has not grown.
LAG_NOISE = 200
#: Samples that are needed before anything can be said.
LEAST_SAMPLES = 8


class Sample(NamedTuple):
    """One process at one time."""

    at_s: float
    rss_mb: float
    files: int
    lag: int


class Trend(NamedTuple):
    """A process over the whole run."""

    rss_mb: float
    rss_mb_per_hour: float
    #: What the memory moves about its trend, and how far the trend went in this run.
    rss_noise_mb: float
    rss_drift_mb: float
    files: tuple[int, int]
    lag: tuple[int, int]


def trend_of(samples: Sequence[Sample]) -> Trend:
    """Straighten a process's samples; files and lag as medians of the first and the last quarter."""
    times_s, memory_mb = [sample.at_s for sample in samples], [sample.rss_mb for sample in samples]
    slope, start = linear_regression(times_s, memory_mb)
    rest = [value - start - slope * at_s for at_s, value in zip(times_s, memory_mb, strict=True)]
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    return Trend(
        rss_mb=round(fmean(memory_mb), 1),
        rss_mb_per_hour=round(slope * 3600, 2),
        rss_noise_mb=round(stdev(rest), 2),
        rss_drift_mb=round(slope * (times_s[-1] - times_s[0]), 2),
        files=(_middle(sample.files for sample in first), _middle(sample.files for sample in last)),
        lag=(_middle(sample.lag for sample in first), _middle(sample.lag for sample in last)),
    )


def _middle(values: Iterable[int]) -> int:
    return round(median(values))


def growing(name: str, trend: Trend) -> list[str]:
    """What of a process grows, in words; nothing when it is steady."""
    found = []
    most_mb = max(NOISE_MB, NOISE_SHARE * trend.rss_mb, 2 * trend.rss_noise_mb)
    if trend.rss_drift_mb > most_mb:
        found.append(f"memory of {name} has grown by {trend.rss_drift_mb:g} MB ({trend.rss_mb_per_hour:g} MB an hour), over {most_mb:.1f} MB of noise")
    if trend.files[1] - trend.files[0] > FILES_NOISE:
        found.append(f"open files of {name} have grown from {trend.files[0]} to {trend.files[1]}")
    if trend.lag[1] - trend.lag[0] > LAG_NOISE:
        found.append(f"the lag of {name} has grown from {trend.lag[0]} to {trend.lag[1]} records")
    return found


def verdict(trends: Mapping[str, Trend]) -> tuple[str, list[str]]:
    """The last line, and what is behind it."""
    problems = [problem for name, trend in trends.items() for problem in growing(name, trend)]
    return (f"soak: growing, {len(problems)} findings" if problems else "soak: steady"), problems


def rows_of(trends: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A heading and a row a process, from a report."""
    heading = ["process", "memory MB", "MB an hour", "noise MB", "open files", "lag"]
    return [heading, *([name, *_cells(trend)] for name, trend in trends.items())]


def _cells(trend: Mapping[str, Any]) -> list[str]:
    files, lag = trend["files"], trend["lag"]
    return [
        f"{trend['rss_mb']:g}",
        f"{trend['rss_mb_per_hour']:+g}",
        f"{trend['rss_noise_mb']:g}",
        f"{files[0]} to {files[1]}",
        f"{lag[0]} to {lag[1]}",
    ]
