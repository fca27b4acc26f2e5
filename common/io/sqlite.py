"""SQLite as the record of what must last: WAL, synchronous=FULL, stamped, with an outbox.

What a service decides and what it will publish of it commit in one transaction. The outbox is published after the commit
and cleared once the broker has acknowledged; after a crash it is published again, and receivers drop what they have seen.
"""

import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.codec import encode
from common.errors import ConfigurationError
from common.processor import Output, Position, Producer
from common.topics import ALL_TOPICS
from common.trace import NO_TRACE, Trace

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


class _Lock:
    """Keeps other processes away from a file; gone with its process, however that ends."""

    def __init__(self, path: Path, holder: str) -> None:
        """Raises ConfigurationError, naming the file and who has it, when another has it."""
        try:
            self._file = path.with_name(f"{path.name}.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            other = self._file.read().strip() or "another process"
            self._file.close()
            raise ConfigurationError([f"{path}: in use by {other}; only one may write, stop it or choose another DATA_DIR"]) from error
        self._file.truncate(0)
        self._file.write(f"{holder}, process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


class Database:
    """One file, one writer."""

    def __init__(self, path: Path, *, holder: str, migrations: Sequence[str], stamp: Mapping[str, str], synchronous: str = "FULL") -> None:
        """Open or make the file and bring its schema up to date.

        `holder` is the service that writes it; `stamp` says what the data belongs to (environment, venue, account).
        Raises ConfigurationError when another process has the file, when it is stamped otherwise, is newer than this
        program or is not a database.
        """
        self.path = path
        self._lock = _Lock(path, holder)
        self._sent_through = 0
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            self._lock.release()
            raise _unusable(path, error) from error
        try:
            for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=5000", "foreign_keys=ON", "wal_autocheckpoint=1000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate((_BASE_SCHEMA, *migrations))
            self._check_stamp(stamp)
        except sqlite3.Error as error:
            self.close()
            raise _unusable(path, error) from error
        except ConfigurationError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; the commit is on disk when the block ends."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """All rows of a SELECT."""
        return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._connection.close()
        self._lock.release()

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

    def clear_published(self, producer: Producer) -> None:
        """Wait for the acknowledgements of what was published and forget it."""
        producer.flush()
        with self.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE id <= ?", (self._sent_through,))

    def _migrate(self, migrations: Sequence[str]) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            raise ConfigurationError([f"{self.path}: has schema {version}, this program knows {len(migrations)}; start the newer program"])
        for number, script in enumerate(migrations[version:], start=version + 1):
            self._connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")

    def _check_stamp(self, stamp: Mapping[str, str]) -> None:
        with self.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO stamps VALUES (?, ?)", stamp.items())
            stored = dict(connection.execute("SELECT name, value FROM stamps").fetchall())
        if foreign := [f"{name} is {stored[name]!r}, not {value!r}" for name, value in stamp.items() if stored[name] != value]:
            raise ConfigurationError([f"{self.path}: belongs to another account ({'; '.join(foreign)}); choose another DATA_DIR"])


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError([f"{path}: cannot be used as a database ({error}); move it away or restore a backup"])
