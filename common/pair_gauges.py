"""An observer that also shows parts of each pair's summary as gauges."""

import math
from collections.abc import Mapping
from typing import Any

from common.processor import Observer


class PairGauges:
    """Passes everything on; of `pair_state` it sets the gauges named in `gauges` (key of the summary to metric), to NaN where the summary says nothing."""

    def __init__(self, observer: Observer, gauges: Mapping[str, str]) -> None:
        self._gauges = gauges
        self._observer = observer
        self.count = observer.count
        self.gauge = observer.gauge
        self.observe = observer.observe
        self.log = observer.log
        self.forget_pair = observer.forget_pair

    def pair_state(self, pair: str, state: Mapping[str, Any]) -> None:
        """Show the numbers and pass the state on."""
        for key, metric in self._gauges.items():
            self._observer.gauge(metric, float(state.get(key, math.nan)), pair=pair)
        self._observer.pair_state(pair, state)
