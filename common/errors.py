"""Errors, named for the reaction they ask for.

CryptoBotError
├── ConfigurationError   stop at start, show every problem, exit status 2
├── InvalidRecord        dead-letter the record, go on
├── TransportError       the broker is away: wait and try again
│   ├── ExchangeAway     the exchange's REST is: likewise
│   └── DeliveryFailed   end the process without a snapshot: its restart replays
├── Disconnected         end the process without a snapshot: only a restart connects again
├── LeaseLost            end the process without a snapshot: another writes in its place, its restart waits
└── InvariantBroken      end the process without a snapshot: a person must look
"""

from collections.abc import Sequence


class CryptoBotError(Exception):
    """Base of all errors of this project."""


class ConfigurationError(CryptoBotError):
    """One or more settings or files are unusable; `problems` holds one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class InvalidRecord(CryptoBotError):
    """A record or frame cannot be used; `reason` is a short label from a fixed set."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class TransportError(CryptoBotError):
    """The transport cannot be reached or refuses; trying again may help."""


class ExchangeAway(TransportError):
    """The exchange's REST does not answer, or not as it should; trying again may help."""


class DeliveryFailed(TransportError):
    """A produced record was not acknowledged in time; nothing after it may be committed."""


class Disconnected(CryptoBotError):
    """A client of the broker does not find it any more though it is there."""


class LeaseLost(CryptoBotError):
    """Another process has taken over what only one may write; nothing more may be written here."""


class InvariantBroken(CryptoBotError):
    """Something that cannot happen did; continuing could lose money."""
