"""requirements/*.txt fit pyproject.toml, each other and what the code imports."""

import importlib.metadata
import re
import sys

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.requirement_inputs import direct_requirements, files, header, read_project
from tests.repo.tree import ROOT

PROJECT = read_project()
NAMES = files(PROJECT)
SERVICES = {
    "services.ingestion": "ingestion",
    "services.kalman_filter": "kalman-filter",
    "services.garch_volatility": "garch-volatility",
    "services.execution": "execution",
    "services.risk_manager": "risk-manager",
    "services.exchange_simulator": "exchange-simulator",
    "scripts.embedded": "demo",
    "monitoring.streamlit": "dashboard",
}


def _text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def _entries(name: str) -> list[str]:
    """One string a pinned package: `name==version ; marker` with its hashes."""
    return re.sub(r" \\\n\s+", " ", re.sub(r"^\s*#.*\n", "", _text(name), flags=re.MULTILINE)).strip().splitlines()


def _pins(name: str) -> dict[str, set[str]]:
    """The versions of each package; more than one where they depend on Python's version."""
    pins: dict[str, set[str]] = {}
    for entry in _entries(name):
        package, version = re.fullmatch(r"([a-z0-9-]+)(?:\[[^]]+\])?==(\S+)( .*)?", entry).group(1, 2)  # type: ignore[union-attr]
        pins.setdefault(package, set()).add(version)
    return pins


def test_there_is_one_file_for_each_extra() -> None:
    """No extra is without its file, no file without its extra."""
    assert {path.stem for path in (ROOT / "requirements").iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_is_current(name: str) -> None:
    """The file was compiled from what pyproject.toml says now; otherwise run scripts/lock.sh."""
    assert _text(name).startswith(header(PROJECT, name)), "run scripts/lock.sh"


@pytest.mark.parametrize("name", NAMES)
def test_pins_satisfy_what_is_asked_for(name: str) -> None:
    """Every direct requirement is pinned, to versions that it allows."""
    pins = _pins(name)
    for requirement in map(Requirement, direct_requirements(PROJECT, name)):
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


@pytest.mark.parametrize("name", NAMES)
def test_every_package_has_hashes_and_no_address(name: str) -> None:
    """pip may check each download, and fetches it from whatever index its user configured."""
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in _entries(name))
    assert not re.search(r"://|^\s*(-i|-f|--index|--extra-index|--find-links)", _text(name), flags=re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_files_hold_the_same_versions(name: str) -> None:
    """A package that is in dev.txt has the same versions there as in any other file."""
    development = _pins("dev")
    different = {package: versions for package, versions in _pins(name).items() if development.get(package, versions) != versions}
    assert not different


def test_development_includes_the_demo() -> None:
    """An environment for the tests serves the demo as well."""
    assert set(_entries("demo")) <= set(_entries("dev"))


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """What imports what, libraries included."""
    return grimp.build_graph("common", "monitoring", "scripts", "services", include_external_packages=True)


@pytest.mark.parametrize("package", SERVICES)
def test_what_a_service_imports_is_in_its_file(package: str, imports: grimp.ImportGraph) -> None:
    """A service starts with nothing but the packages of its own file."""
    reached = imports.find_upstream_modules(package, as_package=True)
    libraries = {module for module in reached if imports.is_module_squashed(module)} - sys.stdlib_module_names
    distributions = importlib.metadata.packages_distributions()
    missing = {library for library in libraries if not {canonicalize_name(name) for name in distributions[library]} & set(_pins(SERVICES[package]))}
    assert not missing


def test_a_stale_file_is_noticed() -> None:
    """Another version asked for in pyproject.toml gives another header."""
    changed = {**PROJECT, "dependencies": [*PROJECT["dependencies"], "left-pad>=1"]}
    assert header(changed, "dev") != header(PROJECT, "dev")


def test_extras_within_extras_are_followed() -> None:
    """What a service needs is asked for in the demo and in development too."""
    asked = set(direct_requirements(PROJECT, "execution"))
    assert asked <= set(direct_requirements(PROJECT, "demo")) <= set(direct_requirements(PROJECT, "dev"))
