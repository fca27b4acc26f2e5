"""What Compose, images and pages say of settings is what the settings classes know."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigurationError
from common.settings import load
from common.settings_help import settings_help
from monitoring.streamlit.client import DashboardSettings
from scripts.env_examples import SET_BY_IMAGES, is_secret, settings_types, variables
from tests.repo.compose import PIPELINE, SETS, config, deployment
from tests.repo.documented import PAGES, code_of
from tests.repo.tree import ROOT, relative

IN_ENV_FILES = variables()
KNOWN = {*IN_ENV_FILES, *SET_BY_IMAGES, *(f"{name}_FILE" for name, each in IN_ENV_FILES.items() if is_secret(each))}


def test_containers_are_given_known_settings_only(tmp_path: Path) -> None:
    """Whatever reaches a container of ours by a Compose file or a file of defaults is read by something in it."""
    folder = deployment(tmp_path)
    for files in SETS.values():
        services: dict[str, dict[str, Any]] = config(folder, files)["services"]
        for name in (*PIPELINE, "exchange-simulator", "topics", "streamlit"):
            assert set(services.get(name, {}).get("environment", {})) <= KNOWN, (files, name)


def test_what_only_the_page_reads_is_set_by_its_image() -> None:
    """The Streamlit page reads the env files as well; the addresses that it asks are its image's affair."""
    recipe = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    own = {row.variable for row in settings_help(DashboardSettings)} - KNOWN
    assert own
    assert [name for name in own if f" {name}=" not in recipe] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_values_that_pages_show_are_taken(page: Path) -> None:
    """A reader who copies them gets no complaint, but for the one that a page is about: orders are not there yet."""
    shown = {match for line in code_of(page) for match in re.findall(r"\b([A-Z][A-Z0-9_]+)=([^\s`'\"|)]*[^\s`'\"|).,;])", line) if match[0] in IN_ENV_FILES}
    assert [problem for name, value in sorted(shown) for problem in complaints(name, value)] == []


def complaints(name: str, value: str) -> Iterator[str]:
    """What the settings classes say of a value, but that orders are not there yet."""
    for kind in settings_types().values():
        try:
            load(kind, {name: value})
        except ConfigurationError as error:
            yield from (problem for problem in error.problems if problem.startswith(f"{name}=") and "orders to a test or live venue" not in problem)


def test_a_value_that_is_none_is_noticed() -> None:
    """The class that knows the setting complains."""
    assert list(complaints("LOG_LEVEL", "LOUD"))
