"""How the bars of a recorded session were closed: what risk-manager has committed that is no function of its inputs.

Live, a bar is closed on the marks that came in time, and a command acts at the first close after it. The signals of the bar
say both, so a replay closes each bar on the same marks and with the same commands.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import msgspec

from common.messages import Command, RiskSignal
from services.risk_manager.portfolio import BarKey


class Closing(NamedTuple):
    """A bar that was closed: the pairs without whose mark it was, and the last command that it reflects."""

    key: BarKey
    missing: tuple[str, ...]
    commands_through: int


class Recorded(msgspec.Struct, frozen=True):
    """The closed bars of a session in order, and the commands that were given."""

    closings: tuple[Closing, ...]
    commands: tuple[Command, ...] = ()

    def after(self, closed: BarKey | None) -> Closing | None:
        """The next bar that was closed; None when the record ends."""
        place = bisect_right(self.closings, closed, key=attrgetter("key")) if closed else 0
        return self.closings[place] if place < len(self.closings) else None

    def commands_between(self, after: int, through: int) -> tuple[Command, ...]:
        """The commands with these ids, the first excluded."""
        return tuple(command for command in self.commands if after < command.id <= through)


def recorded(signals: Iterable[RiskSignal], commands: Iterable[Command]) -> Recorded:
    """Read it from what was published, in any order and repeated at will."""
    closings = {Closing(BarKey(signal.session, signal.bar), signal.marks_missing, signal.commands_through) for signal in signals}
    return Recorded(tuple(sorted(closings)), tuple(sorted(set(commands), key=attrgetter("id"))))
