"""The small parts of the drill: values at their source, a spoilt feed, a past, a page."""

import json
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripts.alert_drill import main
from scripts.drill import confined
from scripts.drill.exposition import replaced
from scripts.drill.feed import Disturbance, Feed
from scripts.drill.history import open_metrics, samples
from scripts.drill.outcome import Outcome
from scripts.drill.report import as_json, catalogue, page, read_json, table

METRICS = '# TYPE a gauge\na{pair="X"} 1.0\n# TYPE b gauge\nb 2.0\n'


def test_one_sample_is_replaced_and_the_others_stay() -> None:
    """One that is not there joins those of its name."""
    assert replaced(METRICS, {"b": 7.0}) == METRICS.replace("b 2.0", "b 7.0")
    assert replaced(METRICS, {'a{pair="Y"}': 3.0}).splitlines()[:3] == ["# TYPE a gauge", 'a{pair="Y"} 3.0', 'a{pair="X"} 1.0']


def book(symbol: str = "ETHUSDT", bid: str = "100") -> bytes:
    """A frame of a book."""
    data = {"s": symbol, "b": bid, "B": "5", "a": str(Decimal(bid) + 1), "A": "6"}
    return json.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data}).encode()


def passed(feed: Feed, *frames: bytes) -> list[dict[str, Any]]:
    """What comes of frames."""
    return [json.loads(each)["data"] for frame in frames for each in feed._spoil(frame)]


def test_a_feed_that_is_left_alone_passes_everything_as_it_is() -> None:
    """To the byte."""
    assert list(Feed(1, 2)._spoil(book())) == [book()]


@pytest.mark.parametrize(
    ("disturbance", "seen"),
    [
        (Disturbance(cut=frozenset({"ETHUSDT"})), []),
        (Disturbance(prices={"ETHUSDT": lambda _: 1.5}), [("150.0000", "151.5000", "5")]),
        (Disturbance(size=Decimal("0.002")), [("100.0000", "101.0000", "0.002")]),
        (Disturbance(garbage_every=1), [("100.0000", "101.0000", "5"), ("no price", None, None)]),
    ],
    ids=["cut", "moved", "thin", "garbage"],
)
def test_a_book_is_spoilt_as_told(disturbance: Disturbance, seen: list[Any]) -> None:
    """Each in its way."""
    feed = Feed(1, 2)
    feed.disturbance = disturbance
    assert [(data["b"], data.get("a"), data.get("B")) for data in passed(feed, book())] == seen


def test_frozen_books_stand_and_trades_get_lost() -> None:
    """The first book of a symbol is all that comes; of three trades one."""
    feed = Feed(1, 2)
    feed.disturbance = Disturbance(frozen=frozenset({"ETHUSDT"}), trades_kept=3)
    assert {data["b"] for data in passed(feed, book(), book(bid="200"), book(bid="300"))} == {"100.0000"}
    trades = [json.dumps({"stream": "ethusdt@trade", "data": {"s": "ETHUSDT", "t": number}}).encode() for number in range(6)]
    assert [data["t"] for data in passed(feed, *trades)] == [2, 5]


def test_the_past_burns_slowly_and_its_relief_ends_it() -> None:
    """0.8 % is between the limits of the slow and the fast burn, and seven hours of it end a minute ago."""
    before, after = samples(60), samples(120)
    late = sum(after[series] - before[series] for series in after if "dead_letters" in series)
    every = sum(after[series] - before[series] for series in after if "consumed" in series)
    assert 0.006 < late / every < 0.0144
    now_s = int(time.time())
    lines = open_metrics(now_s).splitlines()
    assert lines[-1] == "# EOF"
    times = [int(line.rsplit(" ", 1)[1]) for line in lines[:-1]]
    assert (max(times), min(times)) == (now_s - 60, now_s - 7 * 3600)
    assert re.fullmatch(r"\w+_count\{job=\"[\w-]+\",instance=\"history\"\} \d+ \d+", next(line for line in lines if "_count" in line))


def outcome(**changed: Any) -> Outcome:
    """What came of one."""
    return Outcome(**{"alert": "ServiceDown", "scene": "bars", "cause": "killed", "remedy": "started", "receivers": ("slack",)} | changed)


def test_the_page_lists_what_is_proven_and_what_is_not() -> None:
    """One that failed is not proven; one that was not drilled says so."""
    found = page(
        {"ServiceDown": outcome(notified_after_s=4.2, resolved_after_s=9.0, for_s=6.0), "FeedGaps": outcome(alert="FeedGaps", problems=["no all-clear"])}
    )
    assert "| [ServiceDown](runbook.md#servicedown) | killed | started | slack | 30s, here 6.0 s | 4.2 s | 9.0 s |" in found
    assert "- FeedGaps: no all-clear." in found
    assert "- RulesSlow: not drilled." in found
    assert len(re.findall(r"^\| \[", found, flags=re.MULTILINE)) + len(re.findall(r": not drilled\.$", found, flags=re.MULTILINE)) == len(catalogue()) - 1


def test_results_outlive_their_run(tmp_path: Path) -> None:
    """A later run adds to the file."""
    file = tmp_path / "results.json"
    assert read_json(file) == {}
    file.write_text(json.dumps(as_json({"ServiceDown": outcome(problems=["late"])})), encoding="utf-8")
    assert read_json(file)["ServiceDown"].problems == ["late"]


def test_the_table_says_what_failed() -> None:
    """And how many did not."""
    lines = table([outcome(), outcome(alert="FeedGaps", problems=["no all-clear within 90 s"])])
    assert "FAILED: no all-clear within 90 s" in lines[2]
    assert lines[-1] == "1 of 2 alerts arrived and resolved"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["Watchdok"], "the nearest is Watchdog"), (["--route-set", "Watchdog"], "names its alerts itself"), (["--page", "x"], "needs the results of --json")],
)
def test_wrong_usage_is_told_before_anything_starts(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2."""
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err


def test_all_alerts_are_listed_with_their_causes(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is started."""
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(catalogue())


def test_a_confined_service_needs_its_three_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is status 2."""
    assert confined.main(["x"]) == 2
    assert "usage" in capsys.readouterr().err
