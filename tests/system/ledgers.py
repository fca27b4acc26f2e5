"""What runs have decided, read from their ledgers."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from common.market import NANOSECONDS
from common.rules import parse_exchange_info
from scripts.embedded.options import parse
from scripts.embedded.plan import pipeline_settings
from scripts.embedded.recordings import resolve
from scripts.offline import Offline, looped_frames, public_frames
from scripts.sessions.ledgers import Rows, ledger, reading
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.rounds import rounds_of
from services.exchange_simulator.store import Wanted, open_recording


def in_memory(folder: Path, recording: Path, settings: Mapping[str, str], pairs: str = "", *, rounds: int = 0) -> dict[str, Rows]:
    """The same recording and settings through the services in this process, as a loop with so many rounds where it has some; returns the ledger."""
    options = resolve(parse(["--recording", str(recording), *(["--pairs", pairs] if pairs else [])], {}))
    opened = open_recording(recording, Wanted(options.market, options.symbols))
    rules = parse_exchange_info(exchange_info(options.market, opened.rules.values(), 0), options.market)
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**pipeline_settings(options), **settings}
    bar_interval_ns = int(environment["BAR_INTERVAL_SECONDS"]) * NANOSECONDS
    frames = public_frames(opened.frames(), options.market)
    if rounds:
        frames = looped_frames(tuple(opened.frames()), rounds_of(opened, bar_interval_ns), rounds, options.market)
    offline = Offline(environment, frames, rules, folder, ends=max(1, rounds))
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


def through_session(rows: dict[str, Rows], last: int) -> dict[str, Rows]:
    """What belongs to the first market sessions."""
    return {table: [row for row in found if row["session"] <= last] for table, found in rows.items()}


def require_equal(found: dict[str, Rows], expected: dict[str, Rows]) -> None:
    """Field by field, and of something: a recording without decisions would prove nothing."""
    assert all(expected[table] for table in ("decisions", "orders", "fills", "round_trips", "marks"))
    for table, rows in expected.items():
        assert found[table] == rows, table
