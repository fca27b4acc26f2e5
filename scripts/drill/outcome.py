"""What came of drilling an alert."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """One alert: when its receivers heard, when they heard that it was over, and what was wrong."""

    alert: str
    scene: str
    cause: str
    remedy: str
    receivers: tuple[str, ...]
    at_source: str = ""
    #: How long its condition had to hold in this drill; None where the rule has no `for`.
    for_s: float | None = None
    #: From the cause to the last receiver's notification, and from the remedy to the last all-clear; None when it did not come.
    notified_after_s: float | None = None
    resolved_after_s: float | None = None
    #: Alerts that the cause mutes, seen as muted.
    muted: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it arrived, said what it must, and ended."""
        return not self.problems
