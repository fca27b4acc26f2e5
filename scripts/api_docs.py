"""Write docs/api.md from the code: topics, messages, HTTP routes and settings; docs/metrics.md, the example env files and dashboards along with it.

python -m scripts.api_docs            write them
python -m scripts.api_docs --check    status 1 when one is not current
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute

from common.bootstrap import USUAL_PORTS
from common.health import Report
from common.io.http import common_routes, routes_of
from common.message_help import fields_of, messages_of, parts_of, summary_of, tag_of
from common.settings import Settings
from common.settings_help import SettingHelp, settings_help
from common.topics import ALL_TOPICS
from scripts import env_examples, metric_docs
from scripts.dashboards import __main__ as dashboards
from scripts.markdown import code, table
from scripts.service_list import ROOT, packages, service_name, settings_type_of

TARGET = ROOT / "docs" / "api.md"

_INTRODUCTION = """# Reference

Made from the code by `python -m scripts.api_docs`; a test fails when it is not current. Change the code, not this page.
Metrics have [a page of their own](metrics.md).

- [Topics](#topics)
- [Messages](#messages)
- [HTTP](#http)
- [Settings](#settings)
"""


# --- what there is ---------------------------------------------------------------------------------------------------


class _Stand:
    """Stands in for a service whose routes are listed and never called."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    @property  # type: ignore[misc]  # what isinstance asks
    def __class__(self) -> type:
        return self._kind

    def __getattr__(self, name: str) -> Any:
        return self


def router_of(package: str) -> APIRouter | None:
    """Make the router of a service's own routes."""
    settings_type = settings_type_of(package)
    if settings_type is None or not (ROOT / "services" / package / "routes.py").exists():
        return None
    module = importlib.import_module(f"services.{package}.routes")
    kind = next(value for value in vars(module).values() if isinstance(value, type) and hasattr(value, "turn") and not getattr(value, "_is_protocol", False))
    router: APIRouter = module.routes(_Stand(kind), settings_type())
    return router


# --- pages -----------------------------------------------------------------------------------------------------------


def topics_page() -> Iterator[str]:
    """List the topics."""
    yield "## Topics\n"
    yield (
        "`python -m common.topics apply` makes them, `check` says what differs, `plan` what `apply` would do. "
        "Per-pair topics all have `TOPIC_PARTITIONS` partitions, the others one; a record's partition follows from its key. "
        "All of them together fit `KAFKA_DISK_GB`.\n"
    )
    yield table(
        ("topic", "key", "kept", "what", "messages"),
        [(code(topic.name), topic.key, topic.kept, topic.purpose, ", ".join(map(_link, messages_of(topic)))) for topic in ALL_TOPICS],
    )


def _link(struct: type) -> str:
    return f"[{struct.__name__}](#{struct.__name__.lower()})"


def messages_page() -> Iterator[str]:
    """List every message and what it is made of."""
    yield "## Messages\n"
    yield (
        "JSON; `type` holds the tag. Prices, quantities and money are decimals written as text, statistics are floats, times are integer ns UTC. "
        "A new field has a default, an unknown one is ignored. "
        "The header `trace` carries wall times in ns, 8 bytes each, big-endian: when the oldest frame behind a record was read, which also names the trace, "
        "and when each service sent it and had it in hand.\n"
    )
    shown: list[type[msgspec.Struct]] = []
    for topic in ALL_TOPICS:
        for message in messages_of(topic):
            if message not in shown:
                shown.append(message)
                yield _struct(message, f"On {code(topic.name)}, type {code(tag_of(message))}. ")
    parts, enums = parts_of(shown)
    yield "### Parts\n"
    for part in parts:
        if part not in shown:
            yield _struct(part, "")
    yield "### Enumerations\n"
    yield table(("name", "meaning", "values"), [(enum.__name__, summary_of(enum), ", ".join(code(str(member.value)) for member in enum)) for enum in enums])


def _struct(struct: type[msgspec.Struct], lead: str) -> str:
    rows = [(code(field.name), field.kind, field.meaning, code(field.default)) for field in fields_of(struct)]
    return f"#### {struct.__name__}\n\n{lead}{summary_of(struct)}\n\n" + table(("field", "type", "meaning", "default"), rows)


def http_page() -> Iterator[str]:
    """List the routes."""
    yield "## HTTP\n"
    ports = ", ".join(f"{name} {port}" for name, port in USUAL_PORTS.items())
    yield f"Every service listens on `HTTP_HOST`:`HTTP_PORT`; the usual ports are: {ports}. Errors are JSON with a text in `error`.\n"
    yield "### Every service\n"
    yield _routes(common_routes({}, _no_report, bytes, dict))
    for package in packages():
        if router := router_of(package):
            yield f"### {service_name(package)}\n"
            yield _routes(router)


def _no_report() -> Report:
    return Report(live=False, ready=False, reason="", role="", checks={}, details={})


def _routes(router: APIRouter) -> str:
    rows = [
        (
            " ".join(sorted(route.methods or ())),
            code(route.path),
            ", ".join(_parameters(route)),
            "bearer token" if route.dependencies else "",
            _first_line(route.endpoint),
        )
        for route in routes_of(router)
    ]
    return table(("method", "path", "parameters", "guard", "what"), rows)


def _parameters(route: APIRoute) -> list[str]:
    query = [f"`?{parameter.alias}=`" for parameter in route.dependant.query_params]  # codespell:ignore dependant
    bodies = [parameter.field_info.annotation for parameter in route.dependant.body_params]  # codespell:ignore dependant
    return query + [f"body {{{', '.join(getattr(body, 'model_fields', {}))}}}" for body in bodies]


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


def settings_page() -> Iterator[str]:
    """List the settings."""
    yield "## Settings\n"
    yield "Environment variables. A secret `X` may also stand in a file named by `X_FILE`. Wrong values stop a service at its start, all listed at once.\n"
    yield "### Every service\n"
    common = settings_help(Settings)
    yield _settings(common)
    for package in packages():
        settings_type = settings_type_of(package)
        own = [row for row in settings_help(settings_type) if row not in common] if settings_type else []
        if own:
            yield f"### {service_name(package)}\n"
            yield _settings(own)


def _settings(rows: Iterable[SettingHelp]) -> str:
    cells = [(code(row.variable), row.meaning, row.rule, code(row.default), code(row.example)) for row in rows]
    return table(("variable", "meaning", "rule", "default", "example"), cells)


def document() -> str:
    """Make the whole page."""
    pages = (topics_page, messages_page, http_page, settings_page)
    return _INTRODUCTION + "\n" + "\n".join(part for page in pages for part in page())


def main(arguments: Sequence[str]) -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.api_docs", description="Write docs/api.md from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when the page is not current")
    check = parser.parse_args(arguments).check
    text = document()
    if not check:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.stderr.write("docs/api.md is not current; run: python -m scripts.api_docs\n")
        return 1
    return 0


if __name__ == "__main__":
    # One command keeps all that comes from the code.
    sys.exit(max(each(sys.argv[1:]) for each in (main, metric_docs.main, env_examples.main, dashboards.main)))
