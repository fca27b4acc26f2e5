"""What the filter service is told."""

from typing import Annotated

from common.settings import Settings, setting
from services.kalman_filter.filter import FilterParameters


class KalmanSettings(Settings, frozen=True, kw_only=True):
    """Length of the warm-up and the two dials of the filter.

    The dials are multiples of the warm-up's own noise, so they hold for any coin; a dial of q forgets over 1 / sqrt(q) bars.
    Alpha's 1e-3 follows the spread's level over some 30 bars; beta's 1e-5 is a hundred times slower, since a beta that is
    free to move explains the spread's level by itself and then hedges nothing. On a month of one-minute closes of large
    coins against BTC these two give innovations whose z has a standard deviation near 1, a half-life of 10 to 20 bars and a
    beta that stays positive; maximum likelihood would make alpha faster still and leave nothing to trade.
    """

    kalman_warm_up_bars: Annotated[int, setting("FRESH bars of the least squares start", "120", ge=20, le=10_000)] = 120
    kalman_alpha_process_noise: Annotated[
        float, setting("variance of alpha's random walk per bar, as a multiple of the warm-up's residual variance", "0.001", ge=0, le=1)
    ] = 1e-3
    kalman_beta_process_noise: Annotated[
        float, setting("variance of beta's random walk per bar, as a multiple of residual variance over variance of x", "0.00001", ge=0, le=1)
    ] = 1e-5

    @property
    def parameters(self) -> FilterParameters:
        """Dials of the filter."""
        return FilterParameters(
            warm_up_bars=self.kalman_warm_up_bars,
            alpha_process_noise=self.kalman_alpha_process_noise,
            beta_process_noise=self.kalman_beta_process_noise,
        )
