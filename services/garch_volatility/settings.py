"""What the volatility service is told."""

from typing import Annotated

from common.settings import Settings, setting
from services.garch_volatility.processor import GarchParameters
from services.garch_volatility.thresholds import ThresholdParameters


class GarchSettings(Settings, frozen=True, kw_only=True):
    """When to fit, how long to trust a fit, and the thresholds."""

    garch_start_bars: Annotated[int, setting("innovations before the first forecast", "30", ge=20, le=10_000)] = 30
    garch_minimum_bars: Annotated[int, setting("fewest innovations that a fit may use", "500", ge=500, le=10_000)] = 500
    garch_window_bars: Annotated[int, setting("most innovations that a fit uses", "1000", ge=500, le=1500)] = 1000
    garch_refit_bars: Annotated[int, setting("bars between two fits of a pair", "100", ge=1)] = 100
    garch_fit_delay_bars: Annotated[int, setting("bars from asking for a fit to its taking effect", "3", ge=1, le=100)] = 3
    garch_max_age_bars: Annotated[int, setting("bars after which a fit is given up for the fallback", "500", ge=1)] = 500
    entry_z_min: Annotated[float, setting("least |z| of an entry", "2.0", gt=0, le=10)] = 2.0
    exit_z: Annotated[float, setting("|z| of an exit", "0.0", ge=0, le=10)] = 0.0
    stop_z: Annotated[float, setting("|z| of a stop", "5.0", gt=0, le=50)] = 5.0

    def problems(self) -> list[str]:
        """Rules that span fields."""
        rules = (
            (self.exit_z < self.entry_z_min < self.stop_z, f"EXIT_Z={self.exit_z}, ENTRY_Z_MIN={self.entry_z_min}, STOP_Z={self.stop_z}: must rise"),
            (
                self.garch_minimum_bars <= self.garch_window_bars,
                f"GARCH_MINIMUM_BARS={self.garch_minimum_bars}: must not exceed GARCH_WINDOW_BARS={self.garch_window_bars}",
            ),
            (
                self.garch_fit_delay_bars < self.garch_refit_bars,
                f"GARCH_FIT_DELAY_BARS={self.garch_fit_delay_bars}: must be below GARCH_REFIT_BARS={self.garch_refit_bars}",
            ),
        )
        return super().problems() + [problem for holds, problem in rules if not holds]

    @property
    def parameters(self) -> GarchParameters:
        """What the model is told."""
        return GarchParameters(
            start_bars=self.garch_start_bars,
            minimum_bars=self.garch_minimum_bars,
            window_bars=self.garch_window_bars,
            refit_bars=self.garch_refit_bars,
            fit_delay_bars=self.garch_fit_delay_bars,
            max_age_bars=self.garch_max_age_bars,
            thresholds=ThresholdParameters(entry_z_min=self.entry_z_min, exit_z=self.exit_z, stop_z=self.stop_z, fee_bps=float(self.fee_bps)),
        )
