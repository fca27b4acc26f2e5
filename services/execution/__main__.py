"""`python -m services.execution`: the execution service."""

from common.bootstrap import run
from services.execution.edge import NAME, build
from services.execution.metrics import CATALOGUE
from services.execution.routes import routes
from services.execution.settings import ExecutionSettings

if __name__ == "__main__":
    run(NAME, ExecutionSettings, build, metrics=CATALOGUE, routes=routes)
