"""Run the ingestion service."""

from common import bootstrap
from services.ingestion.edge import WebSocketSource
from services.ingestion.metrics import CATALOGUE
from services.ingestion.processor import IngestionService
from services.ingestion.settings import IngestionSettings


def _build(settings: IngestionSettings, context: bootstrap.Context) -> IngestionService:
    source = WebSocketSource(settings, context.observer, context.clock)
    return IngestionService(settings, context.transport, context.observer, context.clock, source)


if __name__ == "__main__":
    bootstrap.run(IngestionService.name, IngestionSettings, _build, metrics=CATALOGUE)
