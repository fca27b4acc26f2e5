"""Replicas of the model services that come, go and stand still on a real Kafka: what they answer is what one would."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.bench import restart
from scripts.bench.model_run import GARCH, KALMAN, ModelRun
from scripts.bench.scale_out import SCENARIOS, play, say


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_replicas_answer_as_one_would(kafka_bootstrap_servers: str, scenario: Callable[[ModelRun], None]) -> None:
    """One that is added, killed, stopped, replaced, or paused past its session and woken up, leaves no gap and no contradiction."""
    assert play(kafka_bootstrap_servers, scenario, say) == []


def test_restarts_are_measured(kafka_bootstrap_servers: str, tmp_path: Path) -> None:
    """The script kills and starts both services, and tells in order when each stage was over."""
    report = tmp_path / "restart.json"
    assert restart.main(["--bootstrap", kafka_bootstrap_servers, "--pairs", "10", "--bars", "30", "--runs", "1", "--json", str(report)]) == 0
    measured = json.loads(report.read_text(encoding="utf-8"))["restarts"]
    assert [each["service"] for each in measured] == [KALMAN, GARCH]
    for each in measured:
        assert 0 < each["imports_s"] < each["connected_s"] < each["restored_s"] < each["caught_up_s"]
        assert each["rss_mb"] > 0
