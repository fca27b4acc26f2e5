"""risk.db: state, commands, positions and outbox of risk-manager, committed together; one process at a time, by lease."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from common.errors import ConfigurationError
from common.io.sqlite import OUTBOX_TRACE, Database
from common.messages import Command, CommandKind
from common.processor import Output, Position, Producer
from common.trace import Trace
from services.risk_manager.portfolio import Portfolio, keep_only
from services.risk_manager.state import Close, Memory, Params, RiskState, initial

_SCHEMA = """
CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE commands (
    id INTEGER PRIMARY KEY, target TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('halt', 'resume', 'flatten')),
    who TEXT NOT NULL CHECK (who <> ''), why TEXT NOT NULL CHECK (why <> ''), issued_at_ns INTEGER NOT NULL
) STRICT;
"""
_PORTFOLIO, _MEMORY, _CLOSE = "portfolio", "memory/", "close/"


class RiskStore:
    """The file and what of it is known to be on disk."""

    def __init__(self, folder: Path, stamp: Mapping[str, str], *, synchronous: str = "FULL") -> None:
        """Open or make risk.db; raises ConfigurationError when it is in use, foreign or damaged. One that hangs is waited for, a few seconds."""
        path = folder / "risk.db"
        self._database = Database(path, holder="risk-manager-service", migrations=[_SCHEMA, OUTBOX_TRACE], stamp=stamp, synchronous=synchronous)
        self._path = path
        self._saved: dict[str, msgspec.Struct | None] = {}
        self._saved_positions: set[Position] = set()

    def load(self, params: Params) -> RiskState:
        """Restore the state of the configured pairs: with empty inboxes, and with the commands that no close has obeyed."""
        entries = {str(name): value for name, value in self._database.query("SELECT name, value FROM state ORDER BY name")}
        fresh = initial(params)
        portfolio = keep_only(self._decode(entries, _PORTFOLIO, Portfolio) or fresh.portfolio, params.pairs)
        memories = {pair: self._decode(entries, f"{_MEMORY}{pair}", Memory) or memory for pair, memory in fresh.memories.items()}
        closes = [close for name in entries if name.startswith(_CLOSE) and (close := self._decode(entries, name, Close))]
        state = msgspec.structs.replace(
            fresh,
            portfolio=portfolio,
            memories=memories,
            closes=tuple(sorted(_waiting_for(closes, params.pairs), key=lambda close: close.key)),
            commands=tuple(self.commands(after=portfolio.commands_through)),
        )
        kept = dict(_entries(state))
        self._saved = {name: kept.get(name) for name in entries if name in kept or name.startswith(_CLOSE)}
        return state

    def positions(self) -> list[Position]:
        """Where to go on reading."""
        return self._database.positions()

    def commands(self, *, after: int) -> list[Command]:
        """List the commands with a larger id, in order."""
        rows = self._database.query("SELECT id, target, kind, who, why, issued_at_ns FROM commands WHERE id > ? ORDER BY id", (after,))
        return [_command(row) for row in rows]

    def last_command_id(self) -> int:
        """Find the id of the newest command, 0 without any."""
        ((newest,),) = self._database.query("SELECT coalesce(max(id), 0) FROM commands")
        assert isinstance(newest, int)
        return newest

    def save(self, state: RiskState, positions: Sequence[Position], outputs: Sequence[tuple[Output, Trace]] = (), commands: Sequence[Command] = ()) -> None:
        """Commit what changed and what is to be published of it, each output with the trace of its input."""
        entries: dict[str, msgspec.Struct | None] = dict(_entries(state))
        changed = [(name, msgspec.json.encode(entry)) for name, entry in entries.items() if self._saved.get(name) is not entry]
        gone = [(name,) for name in self._saved.keys() - entries.keys()]
        moved = [position for position in positions if position not in self._saved_positions]
        with self._database.transaction() as connection:
            connection.executemany("INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", changed)
            connection.executemany("DELETE FROM state WHERE name = ?", gone)
            connection.executemany("INSERT INTO commands VALUES (?, ?, ?, ?, ?, ?)", [_row(command) for command in commands])
            self._database.set_positions(moved)
            for output, trace in outputs:
                self._database.enqueue((output,), trace=trace)
        self._saved, self._saved_positions = entries, set(positions)

    def publish(self, producer: Producer) -> int:
        """Hand what is new in the outbox to the producer."""
        return self._database.publish(producer)

    def clear_published(self, producer: Producer) -> bool:
        """Forget what was published once all of it is acknowledged; returns whether it is."""
        return self._database.clear_published(producer)

    def renew(self) -> None:
        """Show others that this process works; raises LeaseLost when one has taken over."""
        self._database.renew()

    def close(self) -> None:
        """Close the file and let others have it."""
        self._database.close()

    def _decode(self, entries: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(entries[name], type=kind) if name in entries else None
        except msgspec.DecodeError as error:
            raise ConfigurationError([f"{self._path}: entry {name!r} cannot be read ({error}); restore a backup or move the file away"]) from error


def _entries(state: RiskState) -> Iterator[tuple[str, msgspec.Struct]]:
    yield _PORTFOLIO, state.portfolio
    for pair, memory in state.memories.items():
        yield f"{_MEMORY}{pair}", memory
    for close in state.closes:
        yield f"{_CLOSE}{close.key.session}/{close.key.bar}", close


def _waiting_for(closes: Sequence[Close], pairs: Sequence[str]) -> Iterator[Close]:
    for close in closes:
        if waiting := tuple(pair for pair in close.waiting if pair in pairs):
            yield msgspec.structs.replace(close, waiting=waiting)


def _command(row: tuple[object, ...]) -> Command:
    names = ("id", "target", "kind", "who", "why", "issued_at_ns")
    return msgspec.convert(dict(zip(names, row, strict=True)) | {"type": "command"}, Command)


def _row(command: Command) -> tuple[int, str, CommandKind, str, str, int]:
    return command.id, command.target, command.kind, command.who, command.why, command.issued_at_ns
