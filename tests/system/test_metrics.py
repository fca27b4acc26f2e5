"""What real processes show on /metrics."""

import urllib.request
from functools import partial
from pathlib import Path

from scripts.embedded.plan import SERVICES
from tests.exposed import catalogues, families, is_the_process_s_own
from tests.levels import all_level
from tests.system.demo import QUICK, Demo
from tests.system.ledgers import marks_so_far
from tests.system.recordings import cut_klines

#: Enough for models to be warm, and for trades.
MARKS = 300


def exposed(port: int) -> str:
    """What a service answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: bytes = answer.read()
    return text.decode()


def is_warm(demo: Demo) -> bool:
    """Whether the ledger holds marks enough."""
    return marks_so_far(demo.ledger) > MARKS


@all_level
def test_no_metric_is_without_a_sample_and_none_is_outside_the_catalogue(tmp_path: Path) -> None:
    """In the middle of an embedded run each of the five services shows its catalogue, and beside it the client library's own only."""
    with Demo(tmp_path, ["--recording", str(cut_klines(tmp_path / "recording", 1440))], QUICK) as demo:
        demo.wait_until(partial(is_warm, demo), f"{MARKS} marks")
        for service, metrics in catalogues().items():
            names = {name for name, _ in families(exposed(demo.port(service)), metrics) if not is_the_process_s_own(name)}
            drops = {"crypto_bot_records_dropped_total"} if service == "ingestion-service" else set()  # It drops no record: it has frames.
            # Between two bars a pair has no tick, so at times no innovation.
            assert {metric.name for metric in metrics} - names <= drops | {"crypto_bot_kalman_innovation_z", "crypto_bot_kalman_spread_bps"}, service
            assert names <= {metric.name for metric in metrics}
    assert set(catalogues()) == set(SERVICES)
