"""What a seed draws."""

from collections import Counter

import pytest

from scripts.faults.schedule import BROKER, CONSUMERS, INGESTION, REDIS, Feed, Kind, Story, draw


def test_a_seed_draws_the_same_schedule_every_time() -> None:
    """Another seed draws another."""
    assert draw(7, 3) == draw(7, 3)
    assert draw(7, 3) != draw(8, 3)


@pytest.mark.parametrize("minutes", [0.1, 0.5, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_every_act_hits_every_victim_of_its_story_in_its_time(minutes: float, seed: int) -> None:
    """The acts last as long as was asked for; each kills all four consumers and the broker, and only one story touches ingestion."""
    acts = draw(seed, minutes)
    assert sum(act.length_s for act in acts) == pytest.approx(minutes * 60)
    assert {act.story for act in acts} == set(Story)
    for act in acts:
        times = [fault.at_s for fault in act.faults]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= act.length_s
        victims = Counter(fault.victim for fault in act.faults)
        assert victims.keys() >= {*CONSUMERS, BROKER}
        assert (INGESTION in victims) is (act.story is Story.REPLAY)
        assert (REDIS in victims) is (act.story is Story.UNDISTURBED)
        assert all((fault.away_s > 0) is (fault.victim in {BROKER, REDIS}) for fault in act.faults)


def test_long_runs_play_every_story_on_every_feed() -> None:
    """Four acts are enough for that, and in time the broker is both stopped and killed."""
    acts = draw(1, 4)
    assert {(act.story, act.feed) for act in acts} == {(story, feed) for story in Story for feed in Feed}
    assert [str(act) for act in draw(1, 0.5)] == ["act 1: 15 s of klines, equal to an undisturbed run", "act 2: 15 s of live ticks, equal to a replay of ticks"]
    assert not any(act.live for act in acts if act.story is Story.UNDISTURBED)
    assert {fault.kind for act in draw(1, 10) for fault in act.faults if fault.victim == BROKER} == {Kind.STOP, Kind.KILL}


def test_another_s_broker_is_left_alone() -> None:
    """Nobody else's server is stopped."""
    assert all(fault.victim != BROKER for act in draw(3, 3, with_broker=False) for fault in act.faults)
