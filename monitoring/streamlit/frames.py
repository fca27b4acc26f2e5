"""Series as tables that charts are drawn from: a row a sample, with the time in milliseconds as browsers count it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import pandas as pd

from monitoring.streamlit.series import Series, events

COLUMNS = ("time", "value", "series")


def long(series: Iterable[Series], name: Callable[[Mapping[str, str]], str], factor: float = 1.0) -> pd.DataFrame:
    """Samples of all series under their names in the order of time, whoever they were measured by; NaN left out."""
    rows = [(at * 1e3, value * factor, name(each.labels)) for each in series for at, value in each.points if not math.isnan(value)]
    rows.sort(key=itemgetter(0))
    return pd.DataFrame(rows, columns=[*COLUMNS])


def summed(series: Iterable[Series], name: Callable[[Mapping[str, str]], str], factor: float = 1.0) -> pd.DataFrame:
    """The same, with the sum of all series of one name."""
    return long(series, name, factor).groupby(["time", "series"], as_index=False)[["value"]].sum()


def by_label(label: str) -> Callable[[Mapping[str, str]], str]:
    """Name series by one of their labels."""
    return lambda labels: labels.get(label, "")


def called(name: str) -> Callable[[Mapping[str, str]], str]:
    """Give all series one name."""
    return lambda _labels: name


def apart(series: Sequence[Series]) -> Callable[[Mapping[str, str]], str]:
    """Name series by the labels that tell one of them from another."""
    known = {label for each in series for label in each.labels}
    own = {label for label in known if len(series) == 1 or len({each.labels.get(label) for each in series}) > 1}
    return lambda labels: ", ".join(value if label == "__name__" else f"{label}={value}" for label, value in labels.items() if label in own) or "value"


def csv_of(series: Iterable[Series]) -> str:
    """A row a sample: time in UTC, every label, the value as it came."""
    rows = [{"time": pd.Timestamp(at, unit="s", tz="UTC").isoformat(), **each.labels, "value": repr(value)} for each in series for at, value in each.points]
    return str(pd.DataFrame(rows).to_csv(index=False))


def bands(series: Iterable[Series], words: Sequence[str]) -> pd.DataFrame:
    """Stretches in which a pair's number stays the same: from, to, pair, and the word that the number stands for."""
    made = []
    for each in series:
        for number, stretch in groupby(zip(each.points, [*each.points[1:], *each.points[-1:]], strict=True), key=lambda step: step[0][1]):
            steps = list(stretch)
            if number in range(len(words)):
                made.append((steps[0][0][0] * 1e3, steps[-1][1][0] * 1e3, each.labels["pair"], words[int(number)]))
    return pd.DataFrame(made, columns=["start", "end", "row", "what"])


def z_frame(z: Iterable[Series], thresholds: Iterable[Series], decisions: Iterable[Series]) -> pd.DataFrame:
    """z, its thresholds on both sides of 0, and when decisions were first seen."""
    line = long(z, called("z"))
    above = long(thresholds, by_label("threshold"))
    # An entry at 0 says that there are no thresholds yet.
    above = above[~above["time"].isin(above.loc[(above["series"] == "entry") & (above["value"] == 0), "time"])]
    levels = [above.assign(series="+" + above["series"]), above.assign(value=-above["value"], series="-" + above["series"])]
    # The z that a decision was taken at lies between two samples: nobody has it here.
    marks = pd.DataFrame([(at * 1e3, math.nan, _mark(labels["action"])) for at, labels in events(decisions)], columns=[*COLUMNS])
    return pd.concat([each for each in (line, *levels, marks) if len(each)] or [line], ignore_index=True)


def band_frame(middle: Iterable[Series], deviation: Iterable[Series]) -> pd.DataFrame:
    """A line with two deviations on both sides, each measured by the replica that measured the line."""
    line, width = (long(each, by_label("instance")) for each in (middle, deviation))
    joined = line.merge(width, on=["time", "series"], how="left", suffixes=("", "_of"))
    around = 2 * joined["value_of"].fillna(0.0)
    return joined[["time", "value"]].assign(low=joined["value"] - around, high=joined["value"] + around)


def drawdown_frame(equity: pd.DataFrame) -> pd.DataFrame:
    """How far equity is below its highest point so far, percent."""
    highest = equity["value"].cummax()
    return equity.assign(value=100 * (equity["value"] - highest) / highest.where(highest > 0))


def change_frame(series: Iterable[Series], name: Callable[[Mapping[str, str]], str]) -> pd.DataFrame:
    """How far each series is from where it began, percent."""
    frame = long(series, name)
    first = frame.groupby("series")["value"].transform("first")
    return frame.assign(value=100 * (frame["value"] / first - 1))


def _mark(action: str) -> str:
    return {"ENTER_LONG": "enter long", "ENTER_SHORT": "enter short", "EXIT": "exit", "STOP": "stop"}.get(action, "other exit")
