"""The HTTP side of a service: health, metrics, information and the service's own routes."""

import hmac
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException

from common.errors import ConfigurationError
from common.health import Report
from common.io.logs import redact
from common.settings import Secret

#: Seconds that requests in hand get when the server stops.
_GRACE_S = 1


def listen(host: str, port: int) -> socket.socket:
    """Take the port; raises ConfigurationError, naming variable and fix, when that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except socket.gaierror as error:
        listener.close()
        raise ConfigurationError([f"HTTP_HOST={host!r}: is no address of this machine ({error.strerror}); for example HTTP_HOST=127.0.0.1"]) from error
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise ConfigurationError([f"HTTP_PORT={port}: cannot listen on {host}:{port} ({reason}); stop what uses it or set HTTP_PORT to a free port"]) from error
    return listener


class HttpServer:
    """Serves an application from a thread of its own until it is told to stop; signals are left to the main thread."""

    def __init__(self, application: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            application, log_config=None, access_log=False, lifespan="off", loop="asyncio", http="h11", ws="none", timeout_graceful_shutdown=_GRACE_S
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered, for a second at most, and close the port."""
        self._server.should_exit = True
        self._thread.join(_GRACE_S + 0.5)
        self._listener.close()


class Json(Response):
    """JSON, compact, of anything that the messages are made of."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode; Decimal as text, NaN as null."""
        return msgspec.json.encode(content, enc_hook=str)


class HealthJson(Json):
    """JSON in the shape of the health check response draft (draft-inadarei-api-health-check-06)."""

    media_type = "application/health+json"


def create_application(*routers: APIRouter) -> FastAPI:
    """Build an application of routers, with compact JSON and errors that say what to do."""
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, default_response_class=Json)
    for router in routers:
        application.include_router(router)
    application.state.paths = sorted({route.path for router in routers for route in routes_of(router)})
    application.add_exception_handler(StarletteHTTPException, _refused)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(Exception, _failed)
    return application


def routes_of(router: APIRouter) -> list[APIRoute]:
    """List a router's own routes."""
    return [route for route in router.routes if isinstance(route, APIRoute)]


def common_routes(
    identity: Mapping[str, str], report: Callable[[], Report], exposition: Callable[[], bytes], info: Callable[[], Mapping[str, Any]]
) -> APIRouter:
    """Make the routes that every service has.

    Parameters
    ----------
    identity
        At least `service` and `version`; shown on the health pages.
    report
        Health, from what is cached; called in the event loop.
    exposition
        Metrics in Prometheus' text format; called in a worker thread.
    info
        What `/info` shows beyond identity, health and role; secrets are removed from it here.

    """
    router = APIRouter()
    _add_health(router, identity, report)
    _add_information(router, identity, report, exposition, info)
    return router


def _add_health(router: APIRouter, identity: Mapping[str, str], report: Callable[[], Report]) -> None:
    def page(well: bool, seen: Report) -> HealthJson:
        checks = {name: _check(check.passed, check.observed, check.problem) for name, check in seen.checks.items()}
        body = {"status": "pass" if well else "fail", **identity, "role": seen.role, "reason": seen.reason, "checks": checks}
        return HealthJson(redact(body), 200 if well else 503)

    @router.get("/health")
    async def health() -> Response:
        """Whether the service does its work, for people; 503 when it does not."""
        seen = report()
        return page(seen.ready, seen)

    @router.get("/health/live")
    async def live() -> Response:
        """Whether the loop turns; 503 when it has not for 10 s."""
        seen = report()
        return page(seen.live, seen)

    @router.get("/health/ready")
    async def ready() -> Response:
        """Whether the service is recovered, does its work and is not stopping; 503 otherwise."""
        seen = report()
        return page(seen.ready, seen)


def _check(passed: bool, observed: Any, problem: str) -> dict[str, Any]:
    return {"status": "pass" if passed else "fail", "observedValue": observed, **({} if passed else {"output": problem})}


def _add_information(
    router: APIRouter, identity: Mapping[str, str], report: Callable[[], Report], exposition: Callable[[], bytes], info: Callable[[], Mapping[str, Any]]
) -> None:
    @router.get("/metrics")
    def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/info")
    async def information() -> Response:
        """Version, instance, role, settings without secrets, and what the service tells of itself."""
        seen = report()
        return Json(redact({**identity, "ready": seen.ready, "role": seen.role, **info(), "details": seen.details}))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    body: dict[str, Any] = {"error": error.detail}
    if error.status_code == 404 and error.detail == "Not Found":
        body = {"error": f"nothing is at {request.url.path}", "paths": request.app.state.paths}
    elif error.status_code == 405:
        body = {"error": f"{request.method} is not possible at {request.url.path}"}
    return Json(body, error.status_code, headers=dict(error.headers or {}))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()]
    return Json({"error": "the request is not valid", "problems": problems}, 422)


async def _failed(_request: Request, error: Exception) -> Response:
    return Json({"error": f"the service failed to answer ({type(error).__name__}); its log says why"}, 500)


def require_token(token: Secret) -> Dependency:
    """Guard a route or router: `APIRouter(dependencies=[require_token(settings.control_token)])`.

    The client sends `Authorization: Bearer <token>`. Without a configured token nobody gets in.
    """

    async def check(authorization: Annotated[str, Header()] = "") -> None:
        if not token:
            raise HTTPException(403, "no token is configured; set CONTROL_TOKEN_FILE to a file with one and restart the service")
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.reveal().encode()):
            raise HTTPException(401, "send the header 'Authorization: Bearer <token>' with the token of CONTROL_TOKEN_FILE", {"WWW-Authenticate": "Bearer"})

    guard: Callable[..., Awaitable[None]] = check
    return Depends(guard)  # type: ignore[no-any-return]  # FastAPI declares Any


__all__ = ["HealthJson", "HttpServer", "Json", "common_routes", "create_application", "listen", "require_token", "routes_of"]
