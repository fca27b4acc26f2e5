"""Whether a pair's standardised surprises are what the models take them for: white, with a variance of one.

A running mean of squares and of products of neighbours, each new bar with a weight of 1 / WINDOW_BARS. For people only: no rule
looks at it, so it is not part of the state and begins anew with the process.
"""

import math
from typing import NamedTuple

WINDOW_BARS = 200
_WEIGHT = 1 / WINDOW_BARS


class Whiteness(NamedTuple):
    """Moments of the surprises so far."""

    last: float | None = None
    square: float = 1.0
    neighbours: float = 0.0

    def after(self, surprise: float | None) -> "Whiteness":
        """The moments after one more bar; one without a surprise has no neighbours."""
        if surprise is None:
            return self._replace(last=None)
        square = self.square + _WEIGHT * (surprise**2 - self.square)
        if self.last is None:
            return Whiteness(surprise, square, self.neighbours)
        return Whiteness(surprise, square, self.neighbours + _WEIGHT * (surprise * self.last - self.neighbours))

    @property
    def deviation(self) -> float:
        """Standard deviation; above 1 the forecasts are too small."""
        return math.sqrt(self.square)

    @property
    def autocorrelation(self) -> float:
        """Correlation of neighbours, -1 to 1; 0 where the surprises are white."""
        return max(-1.0, min(1.0, self.neighbours / self.square)) if self.square else 0.0
