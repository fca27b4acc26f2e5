"""Past a share of dead letters the service is unready and takes no new exposure, says so for a replay to read, and goes on."""

from pathlib import Path

from common.messages import Decision, ExposureStop, RiskHeartbeat
from common.topics import HEDGE_RATIOS, RISK_SIGNALS
from services.execution.committed import Committed
from tests.unit.execution.builders import FIRST_BAR, PAIR, close, hedge, signal
from tests.unit.execution.test_service import World, run_dry

BAR = FIRST_BAR + 1


def begin(world: World) -> None:
    """A pair that may trade in its second bar."""
    world.feed(close(1, FIRST_BAR), hedge(2, BAR, 1))
    world.send(RISK_SIGNALS, signal(FIRST_BAR))


def nonsense(world: World, records: int) -> None:
    for _ in range(records):
        world.feeder.send(HEDGE_RATIOS, PAIR, b"nonsense")


def test_too_many_dead_letters_stop_new_exposure_and_nothing_else(world: World) -> None:
    """Unready with the reason, no entry, everything read; the stop is committed and outlives a restart."""
    service = world.start()
    begin(world)
    run_dry(service)
    nonsense(world, 5)
    service.turn(0)
    world.feed(hedge(3, BAR, 2, z=3))
    run_dry(service)
    health = service.health()
    assert (health.ready, health.role) == (False, "active")
    assert health.reason.startswith("no new exposure: 5 of the last 8 records were set aside")
    assert world.observer.gauges["crypto_bot_exposure_stopped", ()] == 1
    assert service.snapshot.states[PAIR].blocking_gate == "dead-letters"
    assert service.snapshot.states[PAIR].last_seq == 3
    world.kill()
    again = world.start()
    assert again.health().reason == health.reason
    world.feed(hedge(4, BAR, 3, z=3))
    run_dry(again)
    assert again.snapshot.states[PAIR].blocking_gate == "dead-letters"
    (stop,) = [each for each in world.executions() if isinstance(each, ExposureStop)]
    assert (stop.stopped, stop.bar, stop.seq) == (True, BAR, 2)
    assert len([line for line in world.observer.events("no new exposure") if line.level == "ERROR"]) == 1


def test_usable_records_lift_it(world: World) -> None:
    """Once the share is below the limit again the service is ready and enters; heartbeats, which come by the clock, do not help."""
    service = world.start()
    begin(world)
    nonsense(world, 5)
    for _ in range(200):
        world.send(RISK_SIGNALS, RiskHeartbeat(sent_at_ns=1))
    run_dry(service)
    assert not service.health().ready
    world.feed(*(hedge(seq, BAR, 1 + seq / 100) for seq in range(3, 200)))
    run_dry(service)
    assert service.health().ready
    assert world.observer.gauges["crypto_bot_exposure_stopped", ()] == 0
    world.feed(hedge(200, BAR, 5, z=3))
    run_dry(service)
    assert [each.stopped for each in world.executions() if isinstance(each, ExposureStop)] == [True, False]
    assert [each.seq for each in world.executions() if isinstance(each, Decision)] == [200]


def test_a_replay_stops_where_the_record_says(tmp_path: Path) -> None:
    """Over the same usable records, without the nonsense, it blocks and enters at the same ticks."""
    for name in ("live", "again"):
        (tmp_path / name).mkdir()
    world = World(tmp_path / "live")
    service = world.start()
    begin(world)
    run_dry(service)
    nonsense(world, 5)
    run_dry(service)
    usable = [hedge(seq, BAR, 1 + seq / 100, z=3) for seq in range(3, 200)]
    for message in usable:
        world.feed(message)
        service.turn(0)
    run_dry(service)
    said = world.executions()
    facts = [each for each in said if isinstance(each, ExposureStop)]
    assert [fact.stopped for fact in facts] == [True, False]
    assert [each.seq for each in said if isinstance(each, Decision)] == [facts[1].seq + 1]
    replay = World(tmp_path / "again")
    again = replay.build(committed=Committed(facts))
    again.start()
    begin(replay)
    nonsense(replay, 50)
    replay.feed(*usable)
    run_dry(again)
    assert replay.executions() == said
    world.kill()
    replay.kill()
