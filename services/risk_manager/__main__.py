"""Run risk-manager: `python -m services.risk_manager`."""

from common.bootstrap import Context, run
from services.risk_manager.edge import RiskManagerService
from services.risk_manager.metrics import CATALOGUE
from services.risk_manager.routes import routes
from services.risk_manager.settings import RiskSettings


def build(settings: RiskSettings, context: Context) -> RiskManagerService:
    """Make the service of what the bootstrap gives."""
    return RiskManagerService(settings, context.transport, context.observer, context.clock)


if __name__ == "__main__":
    run(RiskManagerService.name, RiskSettings, build, metrics=CATALOGUE, routes=routes)
