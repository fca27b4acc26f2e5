"""A recording that loops: each round is the recording again, its times moved on by whole bars, so that time never goes back.

Where a loop stands is a function of the event time that has passed since its first start, so a restart goes on where it
would be. Between two rounds lies at least one bar without a frame: who follows the feed can tell a seam from a pause.
"""

import math
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from common.errors import ConfigurationError
from common.market import bar_of
from services.exchange_simulator.recording import Frame, Recording

#: Event and transaction times, also the next funding's, as the exchange writes them. Ids repeat from round to round.
_TIMES: Final = re.compile(rb'("[ET]"\s*:\s*)(\d{13}(?:\d{3}|\d{6})?)(?=\s*[,}])')
_NS_PER_UNIT: Final = {13: 1_000_000, 16: 1_000, 19: 1}


class Place(NamedTuple):
    """A round, counted from 0, and how far into it, ns of event time."""

    round: int
    into_ns: int


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a recording; times are event times, ns."""

    first_event_time_ns: int
    bar_interval_ns: int
    #: From the begin of a round to that of the next: whole bars.
    period_ns: int

    def place(self, elapsed_ns: int) -> Place:
        """Where the loop stands so long after its first start; before it, at the begin."""
        return Place(*divmod(max(0, elapsed_ns), self.period_ns))

    def shift_ns(self, number: int) -> int:
        """By how much the times of a round are moved on."""
        return number * self.period_ns

    def begins_ns(self, number: int) -> int:
        """Begin of the first bar of a round: what comes before belongs to another market session."""
        first_bar = bar_of(self.first_event_time_ns, self.bar_interval_ns)
        return first_bar * self.bar_interval_ns + self.shift_ns(number)

    def shifted(self, frame: Frame, number: int) -> Frame:
        """A frame as it reads in a round."""
        shift_ns = self.shift_ns(number)
        if not shift_ns:
            return frame

        def moved(match: re.Match[bytes]) -> bytes:
            return match[1] + b"%d" % (int(match[2]) + shift_ns // _NS_PER_UNIT[len(match[2])])

        head, data = frame.combined[: frame.data_at], frame.combined[frame.data_at :]
        return frame._replace(time_ns=frame.time_ns + shift_ns, combined=head + _TIMES.sub(moved, data))


def rounds_of(recording: Recording, bar_interval_ns: int) -> Rounds:
    """The rounds of a recording; raises ConfigurationError for one that is too large to know its end."""
    if not recording.exact:
        raise ConfigurationError(
            [f"SIMULATOR_LOOP: RECORDING={recording.name} is too large to be read through, so its end is not known; set DURATION or play another"]
        )
    unit_ns = math.lcm(bar_interval_ns, recording.grid_ns)
    # One bar more than the recording covers, and then some where bars and the recording's own steps do not agree.
    covered_ns = (bar_of(recording.last_event_time_ns, bar_interval_ns) - bar_of(recording.first_event_time_ns, bar_interval_ns) + 2) * bar_interval_ns
    return Rounds(recording.first_event_time_ns, bar_interval_ns, -(-covered_ns // unit_ns) * unit_ns)
