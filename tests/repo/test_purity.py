"""The cores ask neither the clock nor the environment nor chance nor any file: everything is pure unless it is named here."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, project_files, relative

#: The files that do input and output or look at the wall clock.
EDGES = (
    "common/io/*.py",
    "common/bootstrap.py",
    "common/runtime.py",
    "common/topics/__main__.py",
    "services/*/__main__.py",
    "services/*/edge.py",
    "services/*/routes.py",
    "services/*/diagnostics.py",
    "services/execution/ledger.py",
    "services/ingestion/sockets.py",
    "services/risk_manager/store.py",
    "services/garch_volatility/worker.py",
    "services/exchange_simulator/store.py",
    "services/exchange_simulator/kline_store.py",
    "services/exchange_simulator/first_start.py",
    "services/exchange_simulator/playback.py",
)

#: What a pure file may import besides pure files.
ALLOWED = {
    *("array", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib"),
    *("heapq", "itertools", "json", "math", "msgspec", "operator", "re", "statistics", "string", "struct", "types", "typing", "zlib"),
}

#: What single pure files need besides, and why.
ALLOWED_HERE = {
    "common/settings.py": {"pathlib"},  # a secret may be in a file, a data folder must be writable
    "common/health.py": {"threading"},  # read by the HTTP server's thread
    "services/garch_volatility/arch_fit.py": {"arch", "numpy", "warnings"},  # a fit is a function of its request
    "services/ingestion/frame_queue.py": {"asyncio"},  # both ends are of one loop
    "services/risk_manager/desk.py": {"concurrent", "queue"},  # hands requests from the HTTP server's threads to the turn
}

#: Calls whose result is another one in the next run.
UNREPEATABLE = {"hash", "id", "open", "input", "print", "eval", "exec", "__import__"}
CLOCKS = {"now", "utcnow", "today"}

CODE = [path for path in project_files(".py") if relative(path).startswith(("common/", "services/"))]


def is_edge(name: str) -> bool:
    """Whether a file may do input and output."""
    return any(fnmatch(name, pattern) for pattern in EDGES)


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names of the modules that a file imports, and of the names it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def leads_to_edge(module: str) -> bool:
    """Whether an imported name is a file of ours that does input and output, or lies in one."""
    parts = module.split(".")
    return any(is_edge("/".join(parts[:count]) + ".py") for count in range(2, len(parts) + 1)) and parts[0] in {"common", "services"}


def impurities(name: str, source: str) -> list[str]:
    """What makes a file impure; empty for a pure one."""
    tree = ast.parse(source)
    allowed = ALLOWED | ALLOWED_HERE.get(name, set()) | {"common", "services"}
    found = [f"imports {module}" for module in imported(tree) if module.split(".")[0] not in allowed or leads_to_edge(module)]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called in UNREPEATABLE:
                found.append(f"calls {called}()")
            case ast.Call(func=ast.Attribute(attr=called)) if called in CLOCKS:
                found.append(f"calls {called}()")
    return found


@pytest.mark.parametrize("path", [path for path in CODE if not is_edge(relative(path))], ids=relative)
def test_file_is_pure(path: Path) -> None:
    """A file that is not an edge imports only what is pure and calls nothing whose answer changes from run to run."""
    assert impurities(relative(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import random",
        "from os import environ",
        "from uuid import uuid4",
        "import secrets",
        "from confluent_kafka import Consumer",
        "from common.io.sqlite import Database",
        "from common.io import kafka",
        "from services.execution.ledger import Ledger",
        "from services.execution import edge",
        "from datetime import datetime\nnow = datetime.now()",
        "bucket = hash('BTCUSDT')",
        "text = open('rules.json').read()",
    ],
)
def test_what_is_impure_is_noticed(line: str) -> None:
    """The clock, chance, the environment, a library that does input and output, an edge: each is found."""
    assert impurities("services/execution/strategy.py", line)


def test_what_is_pure_passes() -> None:
    """Ports, messages and arithmetic are what cores are made of."""
    source = "import math\nfrom common.processor import Record\nfrom services.execution.state import PairState\nroot = math.sqrt(2)\n"
    assert impurities("services/execution/strategy.py", source) == []


def test_every_edge_is_there() -> None:
    """No name in the list of edges outlives its file."""
    gone = [pattern for pattern in EDGES if "*" not in pattern and not (ROOT / pattern).exists()]
    assert gone == []
