"""Replicas of the model services that come, go and stand still on a real Kafka: what they answer is what one would."""

from collections.abc import Callable

import pytest

from scripts.bench.model_run import ModelRun
from scripts.bench.scale_out import come_and_go, play, say, stand_still


@pytest.mark.parametrize("scenario", [come_and_go, stand_still])
def test_replicas_answer_as_one_would(kafka_bootstrap_servers: str, scenario: Callable[[ModelRun], None]) -> None:
    """One that is added, killed, stopped, or paused past its session and woken up, leaves no gap and no contradiction."""
    assert play(kafka_bootstrap_servers, scenario, say) == []
