"""What the simulator is told."""

from decimal import Decimal
from typing import Annotated

from common.settings import Market, Settings, setting


class SimulatorSettings(Settings, frozen=True, kw_only=True):
    """Settings of the exchange simulator; of the common ones it uses HTTP_HOST and LOG_LEVEL."""

    recording: Annotated[str, setting("recording to play: a file, or a folder of files played as one", "data/klines/usdm-20250510", min_length=1)] = (
        "data/klines/usdm-20250510"
    )
    simulator_speed: Annotated[
        str, setting("times real time, or `max` for as fast as the reader goes", "max", pattern=r"^(max|(?=.*[1-9])\d{1,6}(\.\d{1,6})?)$")
    ] = "1"
    simulator_port: Annotated[int, setting("port of WebSocket and HTTP; 0 for any free one", "8010", ge=0, le=65535)] = 8010
    simulator_loop: Annotated[
        bool, setting("play the recording over and over, each round shifted on by whole bars of BAR_INTERVAL_SECONDS, which must be the services'", "true")
    ] = False
    simulator_state_dir: Annotated[
        str,
        setting("loop at a stated speed: folder that keeps the wall time of the first start, so that a restart goes on where it would be", "var/simulator"),
    ] = ""
    simulator_autostart: Annotated[bool, setting("play for the first subscriber; if false, wait for POST /simulator/start", "true")] = True
    # The simulator alone can tell the market and the symbols from what it plays, so both may be left open here.
    binance_market: Annotated[Market | None, setting("USD-M futures or spot; default: what the recording is", "futures")] = None  # type: ignore[assignment]
    symbols: Annotated[tuple[str, ...], setting("symbols to play, comma separated; default: all of the recording", "BTCUSDT,ETHUSDT")] = ()
    duration: Annotated[float, setting("seconds of recorded time after which the recording ends; 0 for all of it", "3600", ge=0)] = 0.0
    assumed_spread_bps: Annotated[
        Decimal, setting("klines: assumed full spread between bid and ask, bps of the close; rounded outwards to price ticks", "1", ge=0, le=1000)
    ] = Decimal(1)
    kline_book_usd: Annotated[Decimal, setting("klines: assumed size at the best bid and at the best ask, quote currency", "50000", gt=0)] = Decimal(50_000)

    def problems(self) -> list[str]:
        """Rules that span fields; pairs do not matter here."""
        return [f"SYMBOLS: {symbol!r} is not a symbol such as BTCUSDT" for symbol in self.symbols if not (symbol.isalnum() and symbol.isupper())]

    @property
    def speed(self) -> float | None:
        """How many times real time; None for as fast as the reader goes."""
        return None if self.simulator_speed == "max" else float(self.simulator_speed)
