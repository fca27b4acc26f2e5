"""The wall time of a loop's first start, kept in a file so that a restart goes on where the loop would be."""

import os
from pathlib import Path
from typing import Final

import msgspec

from common.errors import ConfigurationError
from services.exchange_simulator.rounds import Rounds

FILE_NAME: Final = "first-start.json"


class FirstStart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a loop began, and what it plays: the place follows from the time since then."""

    #: Wall time, ns UTC.
    started_at_ns: int
    recording: str
    #: Event time of the first frame and of a round, ns.
    first_event_time_ns: int
    period_ns: int
    #: Times real time.
    speed: float

    def elapsed_ns(self, now_ns: int) -> int:
        """Event time since the first start, ns; 0 where the clock has been set back before it."""
        return max(0, round((now_ns - self.started_at_ns) * self.speed))

    def plays_the_same(self, other: "FirstStart") -> bool:
        """Whether only start and speed differ."""
        return msgspec.structs.replace(other, started_at_ns=self.started_at_ns, speed=self.speed) == self


class Keeper:
    """The file in its folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def load(self) -> FirstStart | None:
        """What was kept, None when nothing was; raises ConfigurationError for a file that cannot be read or a folder that cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe = self.path.with_suffix(".new")
            probe.touch()
            probe.unlink()
            return msgspec.json.decode(self.path.read_bytes(), type=FirstStart) if self.path.exists() else None
        except OSError as error:
            what = f"SIMULATOR_STATE_DIR={str(self.path.parent)!r}: cannot be used ({error.strerror or error})"
            raise ConfigurationError([f"{what}; name a folder that this user may write, or leave it out"]) from error
        except msgspec.DecodeError as error:
            raise ConfigurationError([f"{self.path}: is no record of a first start ({error}); remove it to begin the loop anew"]) from error

    def save(self, first_start: FirstStart) -> None:
        """Keep it; after a crash either the old one or the new one is there."""
        written = self.path.with_suffix(".new")
        with written.open("wb") as file:
            file.write(msgspec.json.encode(first_start))
            file.flush()
            os.fsync(file.fileno())
        written.replace(self.path)


def resumed(kept: FirstStart | None, wanted: FirstStart) -> FirstStart:
    """What goes on from now (`wanted.started_at_ns`): the kept loop, at another speed from the same place; another recording begins anew."""
    if kept is None or not kept.plays_the_same(wanted):
        return wanted
    elapsed_ns = kept.elapsed_ns(wanted.started_at_ns)
    if kept.speed == wanted.speed and wanted.started_at_ns >= kept.started_at_ns:
        return kept
    return msgspec.structs.replace(wanted, started_at_ns=wanted.started_at_ns - round(elapsed_ns / wanted.speed))


class Loop:
    """The rounds of a recording and their first start; with a keeper a restart goes on where it would be."""

    def __init__(self, rounds: Rounds, fresh: FirstStart, keeper: Keeper | None = None) -> None:
        """`fresh` is a first start now; raises ConfigurationError where what is kept cannot be used."""
        found = keeper.load() if keeper else None
        self.rounds = rounds
        self.first_start = resumed(found, fresh)
        #: Whether it goes on rather than begins, and whether what was kept belongs to another recording.
        self.kept = found is not None and found.plays_the_same(fresh)
        self.replaced = found is not None and not self.kept
        self._keeper = keeper

    def elapsed_ns(self, now_ns: int) -> int:
        """Event time since the first start; 0 before there was one."""
        return self.first_start.elapsed_ns(now_ns) if self.kept else 0

    def begin(self, now_ns: int) -> None:
        """Playback begins: this is the first start unless there was one. Raises OSError when it cannot be kept."""
        if not self.kept:
            self.first_start = msgspec.structs.replace(self.first_start, started_at_ns=now_ns)
        if self._keeper:
            self._keeper.save(self.first_start)
