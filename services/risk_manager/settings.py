"""What risk-manager is told."""

from decimal import Decimal
from typing import Annotated

from common.settings import Secret, Settings, setting
from services.risk_manager import changepoint
from services.risk_manager.rules import Limits
from services.risk_manager.state import Params


class RiskSettings(Settings, frozen=True, kw_only=True):
    """Limits of pair and portfolio, and who may command."""

    max_drawdown: Annotated[Decimal, setting("loss from the high-water mark that flattens and halts, a fraction of it", "0.10", gt=0, lt=1)] = Decimal("0.10")
    daily_loss_limit: Annotated[Decimal, setting("loss within a UTC day that halts, a fraction of the equity at its start", "0.05", gt=0, lt=1)] = Decimal(
        "0.05"
    )
    max_gross_exposure_usd: Annotated[Decimal, setting("gross notional of all pairs together, USD", "50000", gt=0)] = Decimal(50000)
    max_position_size: Annotated[Decimal, setting("gross notional of one pair, USD", "10000", gt=0)] = Decimal(10000)
    max_orders_per_minute: Annotated[int, setting("orders of all pairs together within a minute", "60", ge=1)] = 60
    max_model_age_bars: Annotated[int, setting("bars since a volatility fit was last put to use, after which the pair only reduces", "1000", ge=1)] = 1000
    changepoint_expected_run_bars: Annotated[float, setting("expected bars between two changes of regime", "1000", gt=1, le=1e9)] = 1000.0
    changepoint_window_bars: Annotated[int, setting("a change within this many bars counts as recent", "50", ge=1, le=1000)] = 50
    changepoint_alarm_mass: Annotated[float, setting("probability of a recent change above which a pair only reduces", "0.9", gt=0.2, lt=1)] = 0.9
    mark_grace_ms: Annotated[int, setting("live only: longest wait for the marks of a bar after its first, ms", "500", ge=1, le=60_000)] = 500
    control_token: Annotated[Secret, setting("token that /halt, /resume and /flatten ask for", "see CONTROL_TOKEN_FILE")] = Secret("")

    @property
    def limits(self) -> Limits:
        """What the rules compare with."""
        return Limits(
            max_drawdown=self.max_drawdown,
            daily_loss_limit=self.daily_loss_limit,
            max_gross_exposure_usd=self.max_gross_exposure_usd,
            max_position_usd=self.max_position_size,
            max_orders_per_minute=self.max_orders_per_minute,
            max_model_age_bars=self.max_model_age_bars,
            changepoint_alarm_mass=self.changepoint_alarm_mass,
        )

    @property
    def params(self) -> Params:
        """What the core is told."""
        return Params(
            pairs=tuple(map(str, self.trading_pairs())),
            bar_interval_ns=self.bar_interval_ns,
            limits=self.limits,
            changepoint=changepoint.Params(
                expected_run_bars=self.changepoint_expected_run_bars,
                window_bars=self.changepoint_window_bars,
                alarm_mass=self.changepoint_alarm_mass,
            ),
        )

    @property
    def mark_grace_ns(self) -> int:
        """Longest wait for the marks of a live bar, ns."""
        return self.mark_grace_ms * 1_000_000

    @property
    def stamp(self) -> dict[str, str]:
        """What risk.db belongs to; bar numbers mean nothing in another bar interval."""
        return {
            "environment": "paper",
            "venue": f"{self.exchange}-{self.binance_market}",
            "account": "paper",
            "bar_interval_seconds": str(self.bar_interval_seconds),
        }
