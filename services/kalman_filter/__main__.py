"""python -m services.kalman_filter: run the filter service."""

from common.bootstrap import run
from services.kalman_filter.edge import NAME, build
from services.kalman_filter.metrics import CATALOGUE
from services.kalman_filter.settings import KalmanSettings

if __name__ == "__main__":
    run(NAME, KalmanSettings, build, metrics=CATALOGUE)
