"""Rules and routes on a faster clock: every waiting time divided, everything else as it is."""

import re
from typing import NamedTuple

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FOR = re.compile(r"^( {8}for: )(\d+)([smhd])$", re.MULTILINE)
_WINDOW = re.compile(r"\[(\d+)([smhd])\]")
_ROUTE = re.compile(r"\b(group_wait|group_interval|repeat_interval): (\d+)([smhd])")


class TimeScale(NamedTuple):
    """How durations become shorter. A division alone would make all short ones alike, so `for` also gets five seconds more."""

    divisor: float = 30.0
    #: What `for` has beyond the division: what fires before another still does, and a restart, which is no faster here, is no ServiceDown.
    for_extra_s: float = 5.0
    most_for_s: float = 60.0
    #: A window holds five scrapes at least.
    least_window_s: float = 10.0
    most_window_s: float = 60.0
    least_route_s: float = 1.0
    #: Whether windows are divided too; on back-filled data they need not be.
    windows: bool = True

    def rules(self, text: str) -> str:
        """A file of rules."""
        text = _FOR.sub(lambda found: f"{found[1]}{_shown(self.for_s(_seconds(found[2], found[3])))}", text)
        return _WINDOW.sub(lambda found: f"[{_shown(self.window_s(_seconds(found[1], found[2])))}]", text) if self.windows else text

    def routes(self, text: str) -> str:
        """Alertmanager's configuration; a wait of 0 stays."""
        return _ROUTE.sub(lambda found: f"{found[1]}: {_shown(self._route_s(_seconds(found[2], found[3])))}", text)

    def for_s(self, given_s: float) -> float:
        """How long a condition must hold here, for what it must hold in production."""
        return min(self.for_extra_s + given_s / self.divisor, self.most_for_s)

    def wait_s(self, given: str) -> float | None:
        """The same for a duration as rules spell it; None for none."""
        return self.for_s(_seconds(given[:-1], given[-1])) if given else None

    def window_s(self, given_s: float) -> float:
        """How far a rule looks back here."""
        return min(max(given_s / self.divisor, self.least_window_s), self.most_window_s)

    def _route_s(self, given_s: float) -> float:
        return max(given_s / self.divisor, self.least_route_s) if given_s else 0.0


def _seconds(number: str, unit: str) -> float:
    return float(int(number) * _SECONDS[unit])


def _shown(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds else "0s"
