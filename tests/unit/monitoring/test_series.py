"""Reading what services expose, and asking for it as one asks Prometheus."""

import math
from typing import Any, ClassVar

import pytest

from monitoring.streamlit import figures
from monitoring.streamlit.client import Away, Client, Odd
from monitoring.streamlit.direct import KEPT_SAMPLES, Direct
from monitoring.streamlit.frames import apart, band_frame, bands, by_label, change_frame, csv_of, drawdown_frame, long, summed, z_frame
from monitoring.streamlit.kept import KEPT_S, Kept
from monitoring.streamlit.series import QueryRefused, Selector, Series, Span, events, rates, samples_of, total

TEXT = """# HELP a_total things
# TYPE a_total counter
a_total{pair="ETH-BTC",why="it \\"broke\\"\\nat once, {twice}"} 3.0
a_bucket{le="+Inf"} 3
b 1.5e-3
b_nan NaN
broken{pair="x"
"""


def test_samples_are_read() -> None:
    """Escapes in labels, braces in values, exponents and NaN; comments and rubbish are passed over."""
    found = list(samples_of(TEXT))
    assert [name for name, *_ in found] == ["a_total", "a_bucket", "b", "b_nan"]
    assert dict(found[0][1]) == {"pair": "ETH-BTC", "why": 'it "broke"\nat once, {twice}'}
    assert found[2][2] == 0.0015
    assert math.isnan(found[3][2])


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("z", True),
        ('z{pair="A"}', True),
        ('z{pair="B"}', False),
        ('z{pair!="B",leg=~"x|y"}', True),
        ('z{leg!~"x.*"}', False),
        ('{pair="A"}', True),
        ('z{absent=""}', True),
    ],
)
def test_selectors_take_what_prometheus_would(text: str, takes: bool) -> None:
    """Equal, unequal, matching and not matching, the whole value; a label that is not there is empty."""
    assert Selector(text).takes({"pair": "A", "leg": "x"}) is takes


@pytest.mark.parametrize("text", ["sum(z)", "z + 1", "", "z{pair=A}", 'z{pair="A" leg="x"}', 'z{leg=~"("}', "z[5m]"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    """Functions, operators and what is misspelt are told, not guessed."""
    with pytest.raises(QueryRefused):
        Selector(text)


def test_counters_that_begin_anew_do_not_fall() -> None:
    """From 10 to 30 in ten seconds is two a second; from 30 to 5 a restart has counted five."""
    (rate,) = rates([Series({}, [(0, 10), (10, 30), (20, 5)])])
    assert rate.points == [(10, 2.0), (20, 0.5)]


def test_a_sum_leaves_out_what_is_no_number() -> None:
    """Two pairs at the same times, one of them unknown at first."""
    assert total([Series({"pair": "A"}, [(0, 1), (1, 2)]), Series({"pair": "B"}, [(0, math.nan), (1, 3)])]).points == [(0, 1), (1, 5)]


def test_a_pair_that_is_traded_no_more_takes_nothing_out_of_the_sum() -> None:
    """It counts with its last value: nothing was lost when it was taken out of PAIRS."""
    assert total([Series({"pair": "A"}, [(0, 10), (1, 11), (2, 12)]), Series({"pair": "B"}, [(0, 5), (1, 4)])]).points == [(0, 15), (1, 15), (2, 16)]


def test_a_pair_counts_once_whoever_tells_of_it() -> None:
    """The replica that took over and the one before it, whose last sample lasts some minutes in Prometheus."""
    before, after = Series({"pair": "A", "instance": "1"}, [(0, 10), (1, 10)]), Series({"pair": "A", "instance": "2"}, [(1, 10), (2, 11)])
    assert total([after, before]).points == [(0, 10), (1, 10), (2, 11)]


def test_samples_of_several_replicas_are_in_the_order_of_time() -> None:
    """A change counts from the first sample of all, not from the first of whichever label comes first."""
    restarted = [Series({"leg": "x", "instance": "b"}, [(0, 100.0), (1, 110.0)]), Series({"leg": "x", "instance": "a"}, [(2, 120.0)])]
    assert list(long(restarted[::-1], by_label("leg"))["time"]) == [0, 1000, 2000]
    assert list(change_frame(restarted[::-1], by_label("leg"))["value"].round(9)) == [0, 10, 20]


def test_what_replicas_take_is_summed() -> None:
    """Two of one service are one line."""
    frame = summed([Series({"job": "a"}, [(0, 1), (1, 2)]), Series({"job": "a"}, [(1, 3)])], by_label("job"))
    assert list(frame["value"]) == [1, 5]


def test_a_counter_that_grows_is_an_event() -> None:
    """At the sample that shows it first, in the order of time."""
    grown = events([Series({"action": "EXIT"}, [(0, 0), (5, 0), (10, 1)]), Series({"action": "STOP"}, [(0, 1), (5, 2)])])
    assert [(at, labels["action"]) for at, labels in grown] == [(5, "STOP"), (10, "EXIT")]


def test_marks_claim_no_z() -> None:
    """A decision is marked when it was first seen, which may be minutes after it was taken; thresholds are on both sides of 0."""
    z = [Series({}, [(0, 1.0), (5, 2.5), (10, math.nan)])]
    frame = z_frame(z, [Series({"threshold": "entry"}, [(0, 2.0)])], [Series({"action": "ENTER_SHORT"}, [(0, 0), (5, 1)])])
    found: dict[Any, Any] = {(row.series, row.time): row.value for row in frame.itertuples()}
    assert math.isnan(found.pop(("enter short", 5000.0)))
    assert found == {("z", 0.0): 1.0, ("z", 5000.0): 2.5, ("+entry", 0.0): 2.0, ("-entry", 0.0): -2.0}
    points = next(layer for layer in figures.z()["layer"] if layer["mark"]["type"] == "point")
    assert points["encoding"]["y"] == {"value": {"expr": "height - 8"}}


def test_bands_last_until_the_number_changes() -> None:
    """A number that stands for no word ends one, and the last one lasts until the last sample."""
    found = bands([Series({"pair": "A"}, [(0, 0), (1, 0), (2, 1), (3, 9), (4, 1), (6, 1)]), Series({"pair": "B"}, [])], ("fine", "bad"))
    assert [tuple(row) for row in found.itertuples(index=False)] == [(0, 2000, "A", "fine"), (2000, 3000, "A", "bad"), (4000, 6000, "A", "bad")]


def test_series_are_named_by_what_tells_them_apart() -> None:
    """What all of them say tells none from another; one alone has its whole name."""
    labels = {"__name__": "z", "pair": "A", "job": "s"}
    both = [Series(labels, []), Series({**labels, "pair": "B"}, [])]
    assert [apart(both)(each.labels) for each in both] == ["pair=A", "pair=B"]
    assert apart(both[:1])(labels) == "z, pair=A, job=s"
    assert apart([Series({}, [])])({}) == "value"


def test_a_file_of_samples_has_all_of_them_as_they_came() -> None:
    """Time in UTC, every label of any series, no digit lost."""
    text = csv_of([Series({"pair": "A"}, [(1.5, 0.1)]), Series({"leg": "x"}, [(2, 1e-9)])])
    assert text == "time,pair,value,leg\n1970-01-01T00:00:01.500000+00:00,A,0.1,\n1970-01-01T00:00:02+00:00,,1e-09,x\n"


def test_thresholds_that_are_not_there_yet_are_not_drawn() -> None:
    """While the models warm up all of them are 0; an exit at 0 is one."""
    given = {"entry": [(0, 0.0), (5, 2.0)], "exit": [(0, 0.0), (5, 0.0)]}
    frame = z_frame([], [Series({"threshold": name}, points) for name, points in given.items()], [])
    assert {(row.series, row.time) for row in frame.itertuples()} == {(f"{sign}{name}", 5000.0) for sign in "+-" for name in given}


def test_a_band_is_two_deviations_wide() -> None:
    """0.8 with a deviation of 0.05 lies between 0.7 and 0.9."""
    (row,) = band_frame([Series({}, [(0, 0.8)])], [Series({}, [(0, 0.05)])]).to_dict("records")
    assert (row["low"], row["high"]) == (pytest.approx(0.7), pytest.approx(0.9))


def test_a_band_goes_with_its_own_line() -> None:
    """Where two replicas overlap, each step has the deviation of the one that measured it."""
    middle = [Series({"instance": "a"}, [(0, 1.0), (1, 2.0)]), Series({"instance": "b"}, [(1, 3.0), (2, 4.0)])]
    deviation = [Series({"instance": "b"}, [(1, 0.3), (2, 0.4)]), Series({"instance": "a"}, [(0, 0.1), (1, 0.2)])]
    found = {(row.time, row.value): row.high for row in band_frame(middle, deviation).itertuples()}
    assert found == {(0, 1.0): pytest.approx(1.2), (1000, 2.0): pytest.approx(2.4), (1000, 3.0): pytest.approx(3.6), (2000, 4.0): pytest.approx(4.8)}


def test_drawdown_is_from_the_highest_point_so_far() -> None:
    """From 200 to 190 is five percent, and a new high is none."""
    frame = drawdown_frame(long([Series({}, [(0, 100), (1, 200), (2, 190), (3, 210)])], lambda _: ""))
    assert [round(value, 9) for value in frame["value"]] == [0, 0, -5, 0]


class Pages(Client):
    """A service without a network."""

    __slots__ = ()
    shown: ClassVar[dict[str, Any]] = {}

    def text(self, _path: str) -> str:
        if self.shown["away"]:
            raise Away("gone")
        return f'z{{pair="A"}} {self.shown["value"]}\nz_bucket{{le="1"}} 4\n'


@pytest.fixture
def pages() -> Pages:
    Pages.shown = {"value": 1.0, "away": False}
    return Pages("s", "S_URL", "http://x")


def test_a_history_is_kept_of_what_was_seen(pages: Pages) -> None:
    """One sample a look, of each series but buckets, under the service's name; in steps the last of each counts."""
    now = [100.0]
    source = Direct([pages], lambda: now[0])
    for value in (1.0, 2.0, 3.0):
        now[0] += 1
        pages.shown["value"] = value
        source.look()
    (whole,) = source.over("z", Span(0, 200, 1))
    assert whole.labels == {"__name__": "z", "pair": "A", "job": "s"}
    assert whole.points == [(101, 1), (102, 2), (103, 3)]
    assert source.over("z", Span(0, 200, 2))[0].points == [(101, 1), (103, 3)]
    assert source.over("z", Span(102.5, 200, 1))[0].points == [(103, 3)]
    assert [each.last for each in source.now('z{pair="A"}')] == [3]
    assert source.over("z_bucket", Span(0, 200, 1)) == []


def test_a_history_is_bounded(pages: Pages) -> None:
    """However long it runs, no more than a quarter above what is promised is kept."""
    now = [0.0]
    source = Direct([pages], lambda: now[0])
    for _ in range(2 * KEPT_SAMPLES):
        now[0] += 1
        source._scrape(pages, now[0])
    (track,) = source._tracks["z"].values()
    assert KEPT_SAMPLES <= len(track.times) <= 1.25 * KEPT_SAMPLES
    assert track.times[-1] == now[0]


def test_all_services_away_is_told(pages: Pages) -> None:
    """And what was seen before is not lost for whoever asks once they are back."""
    now = [100.0]
    source = Direct([pages], lambda: now[0])
    source.look()
    pages.shown["away"] = True
    now[0] += 5
    with pytest.raises(Away, match="gone"):
        source.over("z", Span(0, 200, 1))
    pages.shown["away"] = False
    now[0] += 5
    assert len(source.over("z", Span(0, 200, 1))[0].points) == 2


def test_an_answer_is_kept_and_its_age_told() -> None:
    """While its place is away; and the place is left alone for a moment."""
    now, asked = [0.0], []
    kept = Kept(lambda: now[0])

    def away() -> None:
        asked.append(now[0])
        raise Away("gone")

    assert kept.ask("here", "q", lambda: 7) == (7, 0.0, "")
    now[0] = 10.0
    assert kept.ask("here", "q", away) == (7, 10.0, "gone")
    assert kept.ask("here", "other", away) == (None, 0.0, "gone")
    assert asked == [10.0]
    assert kept.ask("there", "q", lambda: 8) == (8, 0.0, "")
    now[0] = 12.0
    assert kept.ask("here", "q", lambda: 9) == (9, 0.0, "")


def test_one_answer_that_is_odd_leaves_the_others_alone() -> None:
    """A service whose ledger cannot be read now still tells its profit."""
    kept = Kept(lambda: 5.0)

    def odd() -> None:
        raise Odd("busy")

    assert kept.ask("here", "equity", odd) == (None, 0.0, "busy")
    assert kept.ask("here", "profit", lambda: 7) == (7, 0.0, "")


def test_answers_that_nobody_asks_for_any_more_are_forgotten() -> None:
    """An hour after they were given."""
    now = [0.0]
    kept = Kept(lambda: now[0])
    kept.ask("here", "old", lambda: 7)
    now[0] = KEPT_S + 1
    kept.ask("here", "new", lambda: 8)
    assert list(kept._answers) == [("here", "new")]


def test_pages_that_ask_at_once_share_an_answer() -> None:
    """Within a moment nothing is asked twice."""
    kept = Kept(lambda: 5.0)
    kept.ask("here", "q", lambda: 7)
    assert kept.ask("here", "q", lambda: 8).value == 7
