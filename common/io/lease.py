"""The lease of a SQLite file: who may write it, proven anew in every write, so that a paused writer that wakes up writes nothing.

The file itself says who holds it, under which epoch, and how often the holder has renewed it. Two things tell a successor that
the holder is gone, and none of them compares the clocks of two processes:

- The holder locks one byte of `<file>.lock`, the one numbered like its epoch. The system frees it when the process dies,
  however it dies, so a successor comes at once.
- A holder that lives but hangs keeps its byte and stops renewing. A watcher that has seen no renewal for `LEASE_TIMEOUT_S` of
  its own time takes the next epoch, and the holder finds that out in its next transaction.
"""

import fcntl
import os
import signal
import sqlite3
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from common.errors import LeaseLost

#: How often a holder renews, and how long a holder that does not is put up with, seconds.
RENEW_INTERVAL_S = 1.0
LEASE_TIMEOUT_S = 5.0

_TABLE = """
CREATE TABLE IF NOT EXISTS lease (
    id INTEGER PRIMARY KEY CHECK (id = 1), holder TEXT NOT NULL, epoch INTEGER NOT NULL, renewals INTEGER NOT NULL
) STRICT
"""
#: struct flock of 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi"
_SEES_PROCESSES = sys.platform == "linux" and struct.calcsize("P") == 8 and hasattr(os, "pidfd_open")
#: PRAGMA synchronous: a renewal need not survive a power failure, so it does not wait for the disk.
_NORMAL = 1


class Standing(NamedTuple):
    """What a file says of its lease; epoch 0 when nobody ever held it."""

    holder: str = ""
    epoch: int = 0
    renewals: int = 0


class Locks(Protocol):
    """Numbered locks that end with their process."""

    def take(self, number: int) -> bool:
        """Take a lock; returns whether nobody else has it."""
        ...

    def release(self, number: int) -> None:
        """Let others have it."""
        ...

    def end_holder(self, number: int) -> bool:
        """End the process that has a lock, if it can be seen from here; returns whether that was done."""
        ...

    def close(self) -> None:
        """Release all."""
        ...


class FileLocks:
    """Locks on the bytes of an empty file; within one process they never keep anybody away."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be made."""
        self._file = path.open("ab")

    def take(self, number: int) -> bool:
        """Lock a byte."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, number: int) -> None:
        """Unlock it."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def end_holder(self, number: int) -> bool:
        """Kill the process that the system names as the lock's owner; asked a second time, so that it cannot be another by now."""
        owner = self._owner(number) if _SEES_PROCESSES else 0
        if not owner:
            return False
        with suppress(OSError):
            handle = os.pidfd_open(owner)
            try:
                if self._owner(number) == owner:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    return True
            finally:
                os.close(handle)
        return False

    def close(self) -> None:
        """Unlock all."""
        self._file.close()

    def _owner(self, number: int) -> int:
        """The process that has a lock; 0 when nobody has it or it is out of sight, as in another container."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else max(int(process), 0)


class Lease:
    """One process's claim to a file."""

    def __init__(self, connection: sqlite3.Connection, path: Path, name: str, locks: Locks, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`name` is what others are told of this process; the connection is the one that writes."""
        self._connection, self._path, self._name, self._locks, self._monotonic = connection, path, name, locks, monotonic
        ((self._synchronous,),) = connection.execute("PRAGMA synchronous").fetchall()
        self._renewed_s = self._checked_s = 0.0
        self._seen = Standing()
        self._seen_s = monotonic()
        #: Under which epoch it is held; 0 while it is not.
        self.epoch = 0

    def standing(self) -> Standing:
        """Who holds it."""
        if not self.epoch and not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lease'").fetchall():
            return Standing()
        rows = self._connection.execute("SELECT holder, epoch, renewals FROM lease").fetchall()
        return Standing(*rows[0]) if rows else Standing()

    def try_take(self, require_fit: Callable[[], object] = lambda: None) -> bool:
        """Take it if its holder has died, or has not renewed it for a while; called often by those who wait for it.

        `require_fit` raises when this process could do no better than the holder, for instance because the broker is away. The
        holder's silence counts only while it does not raise: what keeps both from working deposes nobody.
        """
        now_s, standing = self._monotonic(), self.standing()
        if standing != self._seen:
            self._seen, self._seen_s, self._checked_s = standing, now_s, now_s
        free = standing.epoch == 0 or self._is_free(standing.epoch)
        due = free or now_s - self._seen_s >= LEASE_TIMEOUT_S
        if due or now_s - self._checked_s >= 2 * RENEW_INTERVAL_S:
            self._checked_s = now_s
            try:
                require_fit()
            except BaseException:
                self._seen_s = self._monotonic()
                raise
        return due and self._take(standing, hung=not free)

    def require_held(self) -> None:
        """Raise LeaseLost when another has taken it; within a transaction, so that what follows in it is still ours to write."""
        standing = self.standing()
        if standing.epoch != self.epoch or not self.epoch:
            raise LeaseLost(
                f"{self._path}: written by {standing.holder or 'nobody'} under epoch {standing.epoch} by now, no longer by {self._name} under epoch "
                f"{self.epoch}: this process did not renew its lease for {LEASE_TIMEOUT_S:g} s; it writes nothing more and ends"
            )

    def renew(self) -> None:
        """Show that this process lives, once a second however often it is called. Raises LeaseLost when another has taken it."""
        now_s = self._monotonic()
        if now_s - self._renewed_s < RENEW_INTERVAL_S:
            return
        self._connection.execute(f"PRAGMA synchronous={min(self._synchronous, _NORMAL)}")
        renewed = self._connection.execute("UPDATE lease SET renewals = renewals + 1 WHERE epoch = ?", (self.epoch,)).rowcount
        self._connection.execute(f"PRAGMA synchronous={self._synchronous}")
        if not renewed:
            self.require_held()
        self._renewed_s = now_s

    def release(self) -> None:
        """Let others have it at once."""
        self.epoch = 0
        self._locks.close()

    def _is_free(self, epoch: int) -> bool:
        if not self._locks.take(epoch):
            return False
        self._locks.release(epoch)
        return True

    def _take(self, standing: Standing, *, hung: bool) -> bool:
        """Take the epoch after the one that was seen, unless somebody else is quicker."""
        epoch = standing.epoch + 1
        if not self._locks.take(epoch):
            return False
        try:
            taken = self._write(standing, Standing(self._name, epoch))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            taken = False
            if hung:
                # It hangs within a transaction, which keeps everybody from writing for as long as it lives.
                self._locks.end_holder(standing.epoch)
        if not taken:
            self._locks.release(epoch)
            return False
        self.epoch, self._renewed_s = epoch, self._monotonic()
        return True

    def _write(self, seen: Standing, mine: Standing) -> bool:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if unchanged := self.standing() == seen:
                connection.execute(_TABLE)
                connection.execute("INSERT OR REPLACE INTO lease VALUES (1, ?, ?, ?)", mine)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return unchanged


__all__ = ["LEASE_TIMEOUT_S", "RENEW_INTERVAL_S", "FileLocks", "Lease", "Locks", "Standing"]
