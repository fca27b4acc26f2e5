"""Entry, exit and stop thresholds that know what a round trip costs."""

import msgspec

#: Round-trip cost over the spread's standard deviation, and the symmetric band that earns most per unit of time at it.
OPTIMAL_BAND = ((0.01, 0.25), (0.05, 0.43), (0.1, 0.54), (0.2, 0.69), (0.5, 0.96), (1.0, 1.26))
_BPS = 1e4


class ThresholdParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Least entry, exit and stop in standard deviations; `fee_bps` of one taker fill, bps of its notional."""

    entry_z_min: float = 2.0
    exit_z: float = 0.0
    stop_z: float = 5.0
    fee_bps: float = 5.0


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of a bar, edge and cost in bps of y's notional."""

    entry_z: float
    exit_z: float
    stop_z: float
    expected_edge_bps: float
    cost_bps: float


def band(parameters: ThresholdParameters, deviation: float, beta: float, y_spread: float, x_spread: float) -> Band:
    """Thresholds for a spread whose innovation has the standard deviation `deviation`, log price.

    Parameters
    ----------
    parameters
        Settings of the thresholds.
    deviation
        s = sqrt(h), the innovation's standard deviation at today's volatility; positive.
    beta
        Hedge ratio, notional of x per unit of notional of y.
    y_spread, x_spread
        Ask less bid over the mid of each leg.

    Notes
    -----
    The entry is the larger of the optimal band and the least entry; a cost of the order of s pushes it out. The expected edge
    is what the way from entry to exit is worth, (entry - exit) s, if the whole of an innovation comes back in prices; the part
    that the filter's own intercept takes over does not.

    """
    cost_bps = round_trip_cost_bps(parameters.fee_bps, beta, y_spread, x_spread)
    entry_z = max(optimal_band(cost_bps / _BPS / deviation), parameters.entry_z_min)
    return Band(
        entry_z=entry_z,
        exit_z=parameters.exit_z,
        stop_z=max(parameters.stop_z, entry_z + 1),
        expected_edge_bps=(entry_z - parameters.exit_z) * deviation * _BPS,
        cost_bps=cost_bps,
    )


def round_trip_cost_bps(fee_bps: float, beta: float, y_spread: float, x_spread: float) -> float:
    """Four taker fills and, at entry and exit together, one full spread of each leg, bps of y's notional."""
    weight = abs(beta)
    return 2 * (1 + weight) * fee_bps + (y_spread + weight * x_spread) * _BPS


def optimal_band(cost_ratio: float) -> float:
    """Entry, in standard deviations of an Ornstein-Uhlenbeck spread, that maximises return per time at a cost of `cost_ratio` of them.

    Between the tabulated points it is linear; below the first it is the limit (3 c / 2)^(1/3); above the last it goes on
    along the last slope.
    """
    if cost_ratio <= OPTIMAL_BAND[0][0]:
        return float((1.5 * max(cost_ratio, 0.0)) ** (1 / 3))
    upper = next((index for index, (ratio, _) in enumerate(OPTIMAL_BAND) if cost_ratio <= ratio), len(OPTIMAL_BAND) - 1)
    (low, low_z), (high, high_z) = OPTIMAL_BAND[upper - 1 : upper + 1]
    return low_z + (cost_ratio - low) * (high_z - low_z) / (high - low)
