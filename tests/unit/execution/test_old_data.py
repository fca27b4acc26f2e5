"""Live, a tick that is too old by the clock gives no new exposure; that is committed, so a replay without a clock blocks at the same ticks."""

from pathlib import Path

import pytest

from common.messages import Decision, ExposureStop, Feed, HedgeMessage, StopCause
from common.topics import HEDGE_RATIOS, RISK_SIGNALS
from common.trace import NO_TRACE, Trace
from services.execution.committed import Committed
from tests.unit.execution.builders import FIRST_BAR, PAIR, close, hedge, signal
from tests.unit.execution.test_service import World, run_dry

BAR = FIRST_BAR + 1


def begin(world: World, feed: Feed = Feed.LIVE) -> None:
    """A pair that may trade in its second bar."""
    world.feed(close(1, FIRST_BAR, feed=feed))
    world.send(RISK_SIGNALS, signal(FIRST_BAR))


def feed_aged(world: World, message: HedgeMessage, age_ms: float) -> None:
    """A record whose frame was read so long ago."""
    world.send(HEDGE_RATIOS, message, PAIR, Trace.begin(world.clock.now_ns - int(age_ms * 1e6)))


def entries(world: World) -> list[int]:
    return [each.seq for each in world.executions() if isinstance(each, Decision)]


def stops(world: World) -> list[tuple[bool, int, StopCause]]:
    return [(each.stopped, each.seq, each.cause) for each in world.executions() if isinstance(each, ExposureStop)]


def test_a_backlog_gives_no_exposure(world: World) -> None:
    """What piled up while somebody was away is worked off without an entry; the first young tick may enter again."""
    service = world.start()
    begin(world)
    run_dry(service)
    for seq, age_ms in enumerate((900, 600, 501, 260), start=2):
        feed_aged(world, hedge(seq, BAR, seq, z=3), age_ms)
    run_dry(service)
    assert service.snapshot.states[PAIR].blocking_gate == "data-age"
    assert service.health().ready, "it is the data that is old, the service is well"
    assert entries(world) == []
    feed_aged(world, hedge(6, BAR, 6, z=3), 249)
    run_dry(service)
    assert entries(world) == [6]
    assert stops(world) == [(True, 1, StopCause.OLD_DATA), (False, 5, StopCause.OLD_DATA)]


@pytest.mark.parametrize(("feed", "age_ms"), [(Feed.RECORDING, 10**6), (Feed.LIVE, 500)])
def test_age_does_not_matter(world: World, feed: Feed, age_ms: float) -> None:
    """From a recording no tick is too old, and live none within the limit."""
    service = world.start()
    begin(world, feed)
    run_dry(service)
    feed_aged(world, hedge(2, BAR, 2, z=3), age_ms)
    run_dry(service)
    assert entries(world) == [2]
    assert stops(world) == []


def test_the_stop_outlives_a_restart_and_ends_with_a_young_tick(world: World) -> None:
    """The successor knows that the last tick was too old, is ready, and goes on with the first young one."""
    service = world.start()
    begin(world)
    run_dry(service)
    feed_aged(world, hedge(2, BAR, 2, z=3), 10_000)
    run_dry(service)
    world.kill()
    again = world.start()
    assert again.health().ready
    feed_aged(world, hedge(3, BAR, 3, z=3), 1)
    run_dry(again)
    assert entries(world) == [3]


def test_a_replay_blocks_where_the_record_says(tmp_path: Path) -> None:
    """With the committed stops and no idea of the time, a replay decides the same."""
    for name in ("live", "again"):
        (tmp_path / name).mkdir()
    world = World(tmp_path / "live")
    service = world.start()
    begin(world)
    ticks = [hedge(seq, BAR, seq, z=3) for seq in range(2, 6)]
    for message, age_ms in zip(ticks, (600, 400, 100, 1), strict=True):
        feed_aged(world, message, age_ms)
        run_dry(service)
    said = world.executions()
    assert entries(world) == [4]
    replay = World(tmp_path / "again")
    again = replay.build(committed=Committed(each for each in said if isinstance(each, ExposureStop)))
    again.start()
    begin(replay)
    replay.feed(*ticks, trace=NO_TRACE)
    run_dry(again)
    assert replay.executions() == said
    world.kill()
    replay.kill()
