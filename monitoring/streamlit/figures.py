"""What charts look like. A figure is made once and given new data at each look, so that nothing but the data changes."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt

from monitoring import palette

Figure = dict[str, Any]

#: The line, its thresholds on both sides, and where decisions were taken.
_Z_LINES = {
    "z": palette.SIGNAL,
    **{f"{sign}entry": palette.THRESHOLD_ENTRY for sign in "+-"},
    **{f"{sign}exit": palette.THRESHOLD_EXIT for sign in "+-"},
    **{f"{sign}stop": palette.THRESHOLD_STOP for sign in "+-"},
}
_Z_MARKS = {
    "enter long": (palette.PROFIT, "triangle-up"),
    "enter short": (palette.LOSS, "triangle-down"),
    "exit": (palette.THRESHOLD_EXIT, "circle"),
    "stop": (palette.THRESHOLD_STOP, "cross"),
    "other exit": (palette.NEUTRAL, "diamond"),
}
#: From the lower edge of a chart to what stands there, pixels.
_MARGIN = 8
_SECONDS = "%Y-%m-%d %H:%M:%S"


@cache
def lines(title: str, *, colours: tuple[tuple[str, str], ...] = (), height: int = 220, zero: bool = False, digits: str = ",.4~r") -> Figure:
    """Lines over time, each in the colour that its name has, else in one of the palette's."""
    scale = _scale(dict(colours)) if colours else alt.Scale(range=[*palette.SERIES])
    colour = alt.Color("series:N", title=None, scale=scale, legend=_legend(shown=len(colours) != 1))
    return _done(alt.Chart().mark_line(strokeWidth=1.6, clip=True).encode(_time(), _value(title, zero), colour, tooltip=_tooltip(title, digits)), height)


@cache
def area(title: str, colour: str, *, height: int = 220) -> Figure:
    """One quantity over time, filled down to 0."""
    edge = alt.MarkConfig(color=colour, strokeWidth=1.6)
    chart = (
        alt.Chart()
        .mark_area(line=edge.to_dict(), color=colour, fillOpacity=0.15, clip=True)
        .encode(_time(), _value(title, zero=True), tooltip=_tooltip(title, ",.2f", named=False))
    )
    return _done(chart, height)


@cache
def z(height: int = 280) -> Figure:
    """Draw z with its thresholds as dashed lines, and below them when decisions were first seen."""
    scale = _scale(_Z_LINES | {name: colour for name, (colour, _) in _Z_MARKS.items()})
    shown = [name for name in (*_Z_LINES, *_Z_MARKS) if not name.startswith("-")]
    legend = alt.Legend(orient="top", columns=9, values=shown, labelExpr="replace(datum.label, '+', '± ')", symbolType="stroke", symbolStrokeWidth=3)
    colour = alt.Color("series:N", title=None, scale=scale, legend=legend)
    shape = alt.Shape("series:N", title=None, legend=None, scale=alt.Scale(domain=[*_Z_MARKS], range=[form for _, form in _Z_MARKS.values()]))
    base = alt.Chart().encode(_time(), _value("z", zero=True), colour, tooltip=_tooltip("z", ",.3f"))
    measured = base.mark_line(strokeWidth=1.6, clip=True).transform_filter("datum.series == 'z'")
    levels = base.mark_line(strokeWidth=1.2, strokeDash=[5, 4], interpolate="step-after", clip=True).transform_filter("test(/^[+-]/, datum.series)")
    seen = [alt.Tooltip("time:T", title="first seen", format=_SECONDS), alt.Tooltip("series:N", title="decision")]
    foot = alt.value(alt.expr(f"height - {_MARGIN}"))
    points = alt.Chart().mark_point(size=110, filled=True, opacity=1).encode(_time(), colour, shape, y=foot, tooltip=seen)
    marks = points.transform_filter(alt.FieldOneOfPredicate("series", [*_Z_MARKS]))
    return _done(alt.layer(levels, measured, marks), height)


@cache
def band(title: str, *, height: int = 220) -> Figure:
    """A line with what it may be off by."""
    base = alt.Chart().encode(_time())
    spread = base.mark_area(color=palette.SIGNAL, opacity=0.18, clip=True).encode(alt.Y("low:Q", title=title, scale=alt.Scale(zero=False)), alt.Y2("high:Q"))
    tips = [
        *_tooltip(title, ",.4f", named=False),
        alt.Tooltip("low:Q", title="2 deviations below", format=",.4f"),
        alt.Tooltip("high:Q", title="2 deviations above", format=",.4f"),
    ]
    middle = base.mark_line(color=palette.SIGNAL, strokeWidth=1.6, clip=True).encode(alt.Y("value:Q"), tooltip=tips)
    return _done(alt.layer(spread, middle), height)


@cache
def profit_parts(height: int) -> Figure:
    """Each pair's profit, made of its parts: gains to the right, costs to the left."""
    colour = alt.Color("part:N", title=None, scale=_scale({name: palette.PROFIT_PARTS[name] for name in ("realised", "unrealised", "fees", "funding")}))
    tips = [alt.Tooltip("pair:N"), alt.Tooltip("part:N"), alt.Tooltip("usd:Q", title="USD", format=",.2f")]
    chart = alt.Chart().mark_bar(height={"band": 0.6}).encode(alt.X("usd:Q", title="USD"), alt.Y("pair:N", title=None), colour, tooltip=tips)
    return _done(chart.encode(color=colour.legend(orient="top")), height)


@cache
def timeline(colours: tuple[tuple[str, str], ...], height: int) -> Figure:
    """What each row was, from when to when."""
    colour = alt.Color("what:N", title=None, scale=_scale(dict(colours)), legend=alt.Legend(orient="top"))
    tips = [alt.Tooltip("row:N", title="pair"), alt.Tooltip("what:N", title="was"), *(alt.Tooltip(f"{end}:T", format=_SECONDS) for end in ("start", "end"))]
    chart = alt.Chart().mark_bar(height={"band": 0.6}).encode(alt.X("start:T", title=None), alt.X2("end:T"), alt.Y("row:N", title=None), colour, tooltip=tips)
    return _done(chart, height)


def _scale(colours: Mapping[str, str]) -> alt.Scale:
    return alt.Scale(domain=[*colours], range=[*colours.values()])


def _legend(*, shown: bool) -> alt.Legend | None:
    return alt.Legend(orient="top", columns=2, symbolType="stroke", symbolStrokeWidth=3) if shown else None


def _time() -> alt.X:
    """Browsers show it in their own zone."""
    return alt.X("time:T", title=None)


def _value(title: str, zero: bool) -> alt.Y:
    return alt.Y("value:Q", title=title, scale=alt.Scale(zero=zero, nice=True))


def _tooltip(title: str, digits: str, *, named: bool = True) -> list[alt.Tooltip]:
    of = [alt.Tooltip("series:N", title="series")] if named else []
    return [alt.Tooltip("time:T", title="time", format=_SECONDS), *of, alt.Tooltip("value:Q", title=title, format=digits)]


def _done(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> Figure:
    """The page's own theme decides on all that is not said here; the data come with each look."""
    made: Figure = chart.properties(height=height).to_dict()
    for part in (made, *made.get("layer", ())):
        for own in ("config", "data", "datasets"):
            part.pop(own, None)
    return made
