"""What ingestion is told besides the common settings."""

from enum import StrEnum
from typing import Annotated

from common.market import NANOSECONDS
from common.messages import PROGRESS_TICKS, Feed
from common.settings import Exchange, Market, Settings, setting

_BINANCE_URLS = {
    Market.FUTURES: "wss://fstream.binance.com",
    Market.SPOT: "wss://stream.binance.com:9443",
}


class Conflate(StrEnum):
    """When a newer tick of a live feed may replace one that is not written yet."""

    BEHIND = "behind"
    EVERY_READ = "every-read"


class IngestionSettings(Settings, frozen=True, kw_only=True):
    """Where frames come from and how far ticks may run ahead of the decisions on them."""

    feed: Annotated[Feed | None, setting("recording or live; default: recording from the simulator, live from Binance", "recording")] = None
    binance_ws_url: Annotated[
        str,
        setting(
            "root of the streams; default: the exchange's own, that of SIMULATOR_ADDRESS for the simulator", "ws://127.0.0.1:8010", pattern=r"^(wss?://\S+)?$"
        ),
    ] = ""
    conflate: Annotated[Conflate, setting("live only: conflate when behind, or per socket read", "behind")] = Conflate.BEHIND
    behind_after_ms: Annotated[int, setting("live only: a pair with a tick undecided for this long is behind, ms", "50", ge=1)] = 50
    lead_ticks: Annotated[int, setting("recording only: most ticks of a pair that may be undecided; then the socket waits", "1000", ge=1)] = 1000
    live_lead_ticks: Annotated[
        int, setting("live only: most ticks of a pair that may be undecided; then newer ones replace each other", "16", ge=PROGRESS_TICKS)
    ] = 16
    frame_queue: Annotated[int, setting("frames that may wait per connection before the socket is paused", "1000", ge=1)] = 1000
    first_event_timeout_seconds: Annotated[float, setting("longest wait for the first event of a book stream, seconds", "30", gt=0)] = 30.0
    silence_timeout_seconds: Annotated[float, setting("live only: a book stream silent for this long makes us reconnect, seconds", "10", gt=0)] = 10.0
    rotate_after_hours: Annotated[float, setting("age at which a connection is replaced, hours; the exchange ends it at 24", "23", gt=0, lt=24)] = 23.0

    def problems(self) -> list[str]:
        """Rules that span fields."""
        found = super().problems()
        if self.exchange is Exchange.BINANCE and self.feed is Feed.RECORDING:
            found.append("FEED='recording': Binance cannot be paused; use FEED=live or EXCHANGE=simulator")
        return found

    @property
    def feed_in_use(self) -> Feed:
        """The given feed, else the exchange's usual one."""
        return self.feed or (Feed.LIVE if self.exchange is Exchange.BINANCE else Feed.RECORDING)

    @property
    def ws_url(self) -> str:
        """Root of the streams without a slash at the end."""
        usual = f"ws://{self.simulator_address}" if self.exchange is Exchange.SIMULATOR else _BINANCE_URLS[self.binance_market]
        return (self.binance_ws_url or usual).rstrip("/")

    @property
    def behind_after_ns(self) -> int:
        """Age of an undecided tick at which its pair is behind, ns."""
        return self.behind_after_ms * 1_000_000

    @property
    def rotate_after_s(self) -> float:
        """Age at which a connection is replaced, seconds."""
        return self.rotate_after_hours * 3600

    @property
    def silence_timeout_ns(self) -> int:
        """Age of a book stream's last event at which it counts as silent, ns."""
        return int(self.silence_timeout_seconds * NANOSECONDS)
