"""Which streams come on which connection, whether they are alive, and when to try again: the rules without the sockets."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from common.settings import Market
from services.ingestion.source import Channel

#: Longer URLs are near what the exchange takes; the names go into a SUBSCRIBE message then.
_LONGEST_URL = 4000
#: A stream that stays silent again after a reconnect is given more time, up to this many doublings.
_MOST_DOUBLINGS = 5
#: Stands for all streams of a channel together.
ANY_STREAM = "any stream"


@dataclass(frozen=True, slots=True)
class Subscription:
    """The streams of one connection: without the required ones nothing works, the others are taken when they come."""

    channel: Channel
    path: str
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All streams."""
        return self.required + self.optional

    def url(self, root: str) -> str:
        """Where to connect; too many names to fit are left to `message`."""
        url = f"{root}{self.path}/stream"
        named = f"{url}?streams={'/'.join(self.names)}"
        return named if len(named) <= _LONGEST_URL else url

    def message(self, root: str) -> dict[str, object] | None:
        """The SUBSCRIBE request to send after connecting, when the URL does not hold the names."""
        return None if "?" in self.url(root) else {"method": "SUBSCRIBE", "params": list(self.names), "id": 1}


def subscriptions(market: Market, symbols: Sequence[str]) -> tuple[Subscription, ...]:
    """The connections that a market needs, in the order to open them.

    On futures the market channel is opened first, so that a recording that begins to play with its first reader of books
    has a reader of trades by then.
    """
    names = [symbol.lower() for symbol in symbols]
    books = tuple(f"{name}@bookTicker" for name in names)
    trades = tuple(f"{name}@{kind}" for name in names for kind in ("aggTrade", "trade"))
    if market is Market.SPOT:
        return (Subscription(Channel.PUBLIC, "", books, trades),)
    marks = tuple(f"{name}@markPrice@1s" for name in names)
    return (Subscription(Channel.MARKET, "/market", (), trades + marks), Subscription(Channel.PUBLIC, "/public", books, ()))


class StreamWatch:
    """Follows when each stream of a channel was heard last, over all its connections."""

    def __init__(self, subscription: Subscription, silence_timeout_ns: int) -> None:
        self._subscription = subscription
        self._silence_timeout_ns = silence_timeout_ns
        self._heard_ns: dict[str, int] = {}
        self._doublings: dict[str, int] = {}

    def hear(self, stream: str, now_ns: int) -> None:
        """An event of the stream has come."""
        self._heard_ns[stream] = now_ns

    def age_ms(self, stream: str, now_ns: int) -> int | None:
        """Time since its last event, ms; None before the first."""
        heard_ns = self._heard_ns.get(stream)
        return None if heard_ns is None else (now_ns - heard_ns) // 1_000_000

    def silent(self, now_ns: int, since_ns: int) -> list[str]:
        """What has been without an event for too long, counted from `since_ns` at the earliest.

        That are required streams, and the channel as a whole once it was heard: its optional streams may be quiet, but not
        all of them.
        """
        heard_ns = {name: self._heard_ns.get(name, since_ns) for name in self._subscription.required}
        if self._heard_ns:
            heard_ns[ANY_STREAM] = max(self._heard_ns.values())
        return [name for name, at_ns in heard_ns.items() if now_ns - max(since_ns, at_ns) > self._silence_timeout_ns * self.patience(name)]

    def forgive(self, streams: Sequence[str]) -> None:
        """These made us reconnect: allow them twice the silence from now on, they may just be quiet."""
        for name in streams:
            self._doublings[name] = min(_MOST_DOUBLINGS, self._doublings.get(name, 0) + 1)

    def patience(self, stream: str) -> int:
        """How many times the usual wait a stream is given."""
        return int(2 ** self._doublings.get(stream, 0))


class Backoff:
    """Waits that double from `first_s` to `most_s`, each shortened by up to a half so that clients do not march in step."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0

    def next_s(self, chance: float) -> float:
        """The wait after one more failure; `chance` lies in [0, 1)."""
        wait_s: float = min(self._most_s, self._first_s * 2**self._failures)
        self._failures = min(self._failures + 1, 32)
        return wait_s * (1 - chance / 2)

    def reset(self) -> None:
        """A connection has lasted."""
        self._failures = 0


class AttemptBudget:
    """Keeps connection attempts below the exchange's limit of 300 in five minutes."""

    def __init__(self, attempts: int = 250, window_s: float = 300.0) -> None:
        self._attempts = attempts
        self._window_s = window_s
        self._made_s: deque[float] = deque()

    def wait_s(self, now_s: float) -> float:
        """How long to wait before the next attempt."""
        while self._made_s and self._made_s[0] <= now_s - self._window_s:
            self._made_s.popleft()
        return 0.0 if len(self._made_s) < self._attempts else self._made_s[0] + self._window_s - now_s

    def spend(self, now_s: float) -> None:
        """An attempt is made."""
        self._made_s.append(now_s)
