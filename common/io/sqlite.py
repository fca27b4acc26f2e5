"""SQLite as the record of what must last: WAL, synchronous=FULL, stamped, with an outbox.

What a service decides and what it will publish of it commit in one transaction. The outbox is published after the commit
and cleared once the broker has acknowledged; after a crash it is published again, and receivers drop what they have seen.
Every transaction proves first that the file's lease is still this process's; see `common.io.lease`.
"""

import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from common.codec import encode
from common.errors import ConfigurationError
from common.io.lease import LEASE_TIMEOUT_S, FileLocks, Lease, Locks, Standing
from common.processor import Output, Position, Producer
from common.topics import ALL_TOPICS
from common.trace import NO_TRACE, Trace

#: How often a start that is not content to wait looks again, and how long at most, seconds.
_LOOK_S, _LOOK_MOST_S = 0.1, 3 * LEASE_TIMEOUT_S

_TOPICS = {topic.name: topic for topic in ALL_TOPICS}

_BASE_SCHEMA = """
CREATE TABLE stamps (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE positions (topic TEXT NOT NULL, "partition" INTEGER NOT NULL, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, "partition")) STRICT;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, "partition" INTEGER, value BLOB NOT NULL, read_at_ns INTEGER NOT NULL
) STRICT;
"""


#: A step of the outbox that came after the services' first schemas; they name it in their migrations, in the order of time.
OUTBOX_TRACE = "ALTER TABLE outbox ADD COLUMN trace BLOB NOT NULL DEFAULT x''; ALTER TABLE outbox DROP COLUMN read_at_ns"


class Database:
    """One file, one writer at a time."""

    def __init__(  # noqa: PLR0913  # two of them are for tests
        self,
        path: Path,
        *,
        holder: str,
        migrations: Sequence[str],
        indexes: Sequence[str] = (),
        stamp: Mapping[str, str],
        synchronous: str = "FULL",
        standby: bool = False,
        locks: Locks | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or make the file, take its lease and bring its schema up to date.

        `holder` is the service that writes it; `stamp` says what the data belongs to (environment, venue, account); `indexes`
        are made where they are missing. With `standby` nothing is taken: `try_take` does that, and until then the file can
        only be read. Otherwise a holder that does not renew is waited for, a few seconds.

        Raises ConfigurationError when another process writes the file, when it is stamped otherwise, is newer than this
        program or is not a database.
        """
        self.path = path
        self._migrations, self._indexes, self._stamp = (_BASE_SCHEMA, *migrations), indexes, stamp
        self._sent_through = 0
        try:
            locks = locks or FileLocks(path.with_name(f"{path.name}.lock"))
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            locks.close()
            raise _unusable(path, error) from error
        try:
            for pragma in ("busy_timeout=5000", "journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "wal_autocheckpoint=1000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._lease = Lease(self._connection, path, f"{holder}, process {os.getpid()} on {socket.gethostname()}", locks, monotonic)
            self._require_ours()
            if not standby:
                self._take_or_refuse()
        except (sqlite3.Error, OSError) as error:
            self._connection.close()
            locks.close()
            raise _unusable(path, error) from error
        except ConfigurationError:
            self.close()
            raise

    # The lease: whether this process may write.

    @property
    def epoch(self) -> int:
        """The lease's epoch; 0 while this process may not write."""
        return self._lease.epoch

    def holder(self) -> Standing:
        """Who may write."""
        return self._lease.standing()

    def try_take(self, require_fit: Callable[[], object] = lambda: None) -> bool:
        """Become the writer if the last one has died or hangs; `require_fit` raises when that would help nobody.

        Raises ConfigurationError when the file has become unusable for this program in the meantime.
        """
        if not self._lease.try_take(require_fit):
            return False
        self._require_ours()
        self._migrate()
        with self.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO stamps VALUES (?, ?)", self._stamp.items())
            for index in self._indexes:
                connection.execute(index)
        return True

    def renew(self) -> None:
        """Show others that this process works; call it in every turn. Raises LeaseLost when one has taken over."""
        self._lease.renew()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; the commit is on disk when the block ends. Raises LeaseLost when another process has taken over."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._lease.require_held()
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def current(self) -> bool:
        """Whether the schema is this program's, so that the file can be read."""
        return self._version() == len(self._migrations)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """All rows of a SELECT."""
        return self._connection.execute(sql, parameters).fetchall()

    def rows(self, sql: str) -> Iterator[tuple[object, ...]]:
        """The rows of a SELECT one by one; stop early, and no more are read."""
        with closing(self._connection.execute(sql)) as cursor:
            yield from cursor

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._connection.close()
        self._lease.release()

    # Positions: where to go on reading after a restart.

    def positions(self) -> list[Position]:
        """The stored positions."""
        rows = self._connection.execute('SELECT topic, "partition", next_offset FROM positions').fetchall()
        return [Position(_TOPICS[topic], partition, offset) for topic, partition, offset in rows]

    def set_positions(self, positions: Sequence[Position]) -> None:
        """Store positions; call inside a transaction."""
        self._connection.executemany(
            "INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            [(position.topic.name, position.partition, position.offset) for position in positions],
        )

    # Outbox: what is published after the commit.

    def enqueue(self, outputs: Sequence[Output], *, trace: Trace = NO_TRACE) -> None:
        """Put messages into the outbox; call inside a transaction."""
        self._connection.executemany(
            'INSERT INTO outbox (topic, key, "partition", value, trace) VALUES (?, ?, ?, ?, ?)',
            [(output.topic.name, output.key, output.partition, encode(output.message), trace) for output in outputs],
        )

    def publish(self, producer: Producer) -> int:
        """Hand what is new in the outbox to the producer; returns how many."""
        rows = self._connection.execute(
            'SELECT id, topic, key, "partition", value, trace FROM outbox WHERE id > ? ORDER BY id', (self._sent_through,)
        ).fetchall()
        for number, topic, key, partition, value, trace in rows:
            producer.send(_TOPICS[topic], key, value, partition=partition, trace=Trace(trace))
            self._sent_through = number
        return len(rows)

    def forget_published(self) -> None:
        """Empty the outbox of what was published and is known to be acknowledged; call inside a transaction."""
        self._connection.execute("DELETE FROM outbox WHERE id <= ?", (self._sent_through,))

    def clear_published(self, producer: Producer) -> bool:
        """Forget what was published once all of it is acknowledged; returns whether it is. Waits for nothing: a broker may be away."""
        if not producer.acknowledged():
            return False
        with self.transaction():
            self.forget_published()
        return True

    def _take_or_refuse(self) -> None:
        """Take the lease, at once or after a holder that does not renew; raises ConfigurationError when one does."""
        first, looks = self._lease.standing(), round(_LOOK_MOST_S / _LOOK_S)
        while not self.try_take():
            standing, looks = self._lease.standing(), looks - 1
            if standing != first or not looks:
                raise ConfigurationError([f"{self.path}: in use by {standing.holder}; only one may write, stop it or choose another DATA_DIR"])
            time.sleep(_LOOK_S)

    def _version(self) -> int:
        ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        assert isinstance(version, int)
        return version

    def _require_ours(self) -> None:
        """Refuse a file of a newer program or another account, before anything is written to it."""
        if (version := self._version()) > len(self._migrations):
            raise ConfigurationError([f"{self.path}: has schema {version}, this program knows {len(self._migrations)}; start the newer program"])
        stored = dict(self._connection.execute("SELECT name, value FROM stamps").fetchall()) if version else {}
        if foreign := [f"{name} is {stored[name]!r}, not {value!r}" for name, value in self._stamp.items() if stored.get(name, value) != value]:
            raise ConfigurationError([f"{self.path}: belongs to another account ({'; '.join(foreign)}); choose another DATA_DIR"])

    def _migrate(self) -> None:
        for number in range(self._version() + 1, len(self._migrations) + 1):
            with self.transaction() as connection:
                for statement in _statements(self._migrations[number - 1]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")


@contextmanager
def reading(path: Path) -> Iterator[Callable[[str, Sequence[object]], list[dict[str, Any]]]]:
    """What asks a database in use, row by row a dictionary, without disturbing its writer; raises sqlite3.Error when it cannot be read."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        # One transaction: whatever is asked is of the same moment.
        connection.execute("BEGIN")
        yield lambda sql, parameters: [dict(row) for row in connection.execute(sql, parameters)]


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit before the first."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError([f"{path}: cannot be used as a database ({error}); move it away or restore a backup"])
