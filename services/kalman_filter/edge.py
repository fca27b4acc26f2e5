"""The filter service: the model joined to its topics."""

from common.bootstrap import Context
from common.keyed_service import KeyedService
from common.pair_gauges import PairGauges
from common.topics import HEDGE_RATIO_CLOSES, HEDGE_RATIOS, KALMAN_STATE, TICKS
from services.kalman_filter.metrics import GAUGES
from services.kalman_filter.processor import KalmanModel, KalmanState
from services.kalman_filter.settings import KalmanSettings

NAME = "kalman-filter-service"


def build(settings: KalmanSettings, context: Context) -> KeyedService[KalmanState]:
    """Make the service."""
    model = KalmanModel(settings.parameters, settings.bar_interval_ns)
    pairs = tuple(map(str, settings.trading_pairs()))
    observer = PairGauges(context.observer, GAUGES)
    return KeyedService(NAME, model, pairs, TICKS, HEDGE_RATIOS, KALMAN_STATE, context.transport, observer, context.clock, HEDGE_RATIO_CLOSES)
