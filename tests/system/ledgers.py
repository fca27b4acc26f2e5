"""What runs have decided, read from their ledgers."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from common.rules import parse_exchange_info
from scripts.embedded.options import parse
from scripts.embedded.plan import pipeline_settings
from scripts.embedded.recordings import resolve
from scripts.offline import Offline, public_frames
from scripts.sessions.ledgers import Rows, ledger, reading
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.store import Wanted, open_recording


def in_memory(folder: Path, recording: Path, settings: Mapping[str, str], pairs: str = "") -> dict[str, Rows]:
    """The same recording and settings through the services in this process; returns the ledger."""
    options = resolve(parse(["--recording", str(recording), *(["--pairs", pairs] if pairs else [])], {}))
    opened = open_recording(recording, Wanted(options.market, options.symbols))
    rules = parse_exchange_info(exchange_info(options.market, opened.rules.values(), 0), options.market)
    folder.mkdir(parents=True, exist_ok=True)
    offline = Offline({**pipeline_settings(options), **settings}, public_frames(opened.frames(), options.market), rules, folder)
    offline.run()
    offline.stop()
    return ledger(folder / "trading.db")


def marks_so_far(path: Path) -> int:
    """How many bars a run has marked by now."""
    if not path.exists():
        return 0
    try:
        with reading(path) as connection:
            return int(connection.execute("SELECT count(*) FROM marks").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def require_equal(found: dict[str, Rows], expected: dict[str, Rows]) -> None:
    """Field by field, and of something: a recording without decisions would prove nothing."""
    assert all(expected[table] for table in ("decisions", "orders", "fills", "round_trips", "marks"))
    for table, rows in expected.items():
        assert found[table] == rows, table
