"""What a run has decided and done, read from execution's ledger."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import ConfigurationError

TABLES = ("decisions", "orders", "order_events", "fills", "funding", "round_trips", "marks", "holds", "commands", "exposure_stops")

Rows = list[dict[str, Any]]


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, read only; its writer is not disturbed."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        yield connection
    finally:
        connection.close()


def ledger(path: Path) -> dict[str, Rows]:
    """Every row of every table, in each pair's own order; raises ConfigurationError when the file is no ledger."""
    try:
        with reading(path) as connection:
            return {table: [_shown(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY pair, rowid")] for table in TABLES}  # noqa: S608
    except sqlite3.Error as error:
        raise ConfigurationError([f"{path}: is not a readable ledger ({error})"]) from error


#: A row's number tells how the pairs took turns, its trace when a frame was read: no part of any decision.
_NOT_DECIDED = {"id", "trace_id"}


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name not in _NOT_DECIDED}  # noqa: SIM118 - a Row iterates over values
