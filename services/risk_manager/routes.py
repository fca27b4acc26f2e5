"""What risk-manager answers over HTTP: its state and, behind the token, commands."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict

from common.io.http import require_token
from common.messages import PORTFOLIO, CommandKind
from common.processor import Service
from services.risk_manager.desk import NotRecordedError, Request
from services.risk_manager.edge import RiskManagerService
from services.risk_manager.settings import RiskSettings


class CommandBody(BaseModel):
    """What a request for a command says; `pair` is a pair or `portfolio`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    pair: str = PORTFOLIO
    who: str = ""
    why: str = ""


def routes(service: Service, settings: RiskSettings) -> APIRouter:
    """Serve `/state`, and behind the token `/halt`, `/resume` and `/flatten`."""
    assert isinstance(service, RiskManagerService)
    router = APIRouter()
    guarded = [require_token(settings.control_token)]

    @router.get("/state")
    def state() -> dict[str, Any]:
        """Equity, verdicts, every rule's last result, halts and the last 100 commands."""
        return service.describe()

    def command(kind: CommandKind, body: CommandBody) -> dict[str, Any]:
        try:
            recorded = service.command(_request(kind, body, service.pairs))
        except NotRecordedError as error:
            raise HTTPException(503, f"the command was not recorded and will not be obeyed ({error or 'the service does not keep up'}); try again") from error
        return {"id": recorded.id, "kind": kind.value, "pair": recorded.target, "obeyed": "from the signals of the next bar close on"}

    @router.post("/halt", status_code=202, dependencies=guarded)
    def halt(body: CommandBody) -> dict[str, Any]:
        """No new exposure until resumed; positions may be reduced. Answers once it is on disk."""
        return command(CommandKind.HALT, body)

    @router.post("/flatten", status_code=202, dependencies=guarded)
    def flatten(body: CommandBody) -> dict[str, Any]:
        """Close positions and stay out until resumed. Answers once it is on disk."""
        return command(CommandKind.FLATTEN, body)

    @router.post("/resume", status_code=202, dependencies=guarded)
    def resume(body: CommandBody) -> dict[str, Any]:
        """Lift the halts of a pair, or those of the portfolio; after a loss limit, losses count from the present equity on."""
        return command(CommandKind.RESUME, body)

    return router


def _request(kind: CommandKind, body: CommandBody, pairs: Sequence[str]) -> Request:
    problems = [f"{name}: say {meaning}" for name, meaning in (("who", "who asks"), ("why", "for what reason")) if not getattr(body, name)]
    if body.pair not in {PORTFOLIO, *pairs}:
        problems.append(f"pair: {body.pair!r} is not one of {', '.join((PORTFOLIO, *pairs))}")
    if problems:
        raise HTTPException(422, "; ".join(problems))
    return Request(kind, body.pair, body.who, body.why)
