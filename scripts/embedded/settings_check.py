"""Wrong settings are told before anything is started: all of them, each once."""

from collections.abc import Iterable

from common.errors import ConfigurationError
from common.settings import Settings, load
from scripts.embedded.plan import SIMULATOR
from scripts.embedded.processes import Supervised
from services.exchange_simulator.settings import SimulatorSettings
from services.execution.settings import ExecutionSettings
from services.garch_volatility.settings import GarchSettings
from services.ingestion.settings import IngestionSettings
from services.kalman_filter.settings import KalmanSettings
from services.risk_manager.settings import RiskSettings

_SETTINGS: dict[str, type[Settings]] = {
    SIMULATOR: SimulatorSettings,
    "ingestion-service": IngestionSettings,
    "kalman-filter-service": KalmanSettings,
    "garch-volatility-service": GarchSettings,
    "execution-service": ExecutionSettings,
    "risk-manager-service": RiskSettings,
}


def require_settings(processes: Iterable[Supervised]) -> None:
    """Raise ConfigurationError with every problem of every process."""
    problems: dict[str, None] = {}
    for process in processes:
        try:
            load(_SETTINGS[process.name], process.environment)
        except ConfigurationError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigurationError(list(problems))
