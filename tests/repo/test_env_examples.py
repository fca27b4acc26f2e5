"""The example env files, the settings classes, the images and the Compose files agree."""

import re

import pytest

from common.errors import ConfigurationError
from common.settings import load
from common.settings_help import settings_help
from scripts.env_examples import (
    BROKER_VARIABLES,
    COMPOSE_VARIABLES,
    DEVELOPMENT_VARIABLES,
    EXAMPLES,
    PRODUCTION_VARIABLES,
    SET_BY_IMAGES,
    Example,
    defaults_of,
    files,
    image_defaults,
    is_secret,
    settings_types,
    variables,
)
from scripts.operations.deployment_settings import MAIL
from tests.repo.tree import ROOT

MANDATORY = {
    "env.dev.example": {
        "BINANCE_TESTNET": "true",
        "LOG_LEVEL": "DEBUG",
        "SYMBOLS": "BTCUSDT,ETHUSDT",
        "MAX_POSITION_SIZE": "1000",
        "ENABLE_PAPER_TRADING": "true",
    },
    "env.prod.example": {
        "BINANCE_TESTNET": "false",
        "LOG_LEVEL": "INFO",
        "SYMBOLS": "BTCUSDT,ETHUSDT,ADAUSDT,BNBUSDT,SOLUSDT",
        "MAX_POSITION_SIZE": "50000",
        "ENABLE_PAPER_TRADING": "false",
    },
}
by_name = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


@pytest.mark.parametrize("name", files())
def test_file_is_current(name: str) -> None:
    """The file is what the settings classes say now; otherwise run python -m scripts.env_examples."""
    assert (ROOT / name).read_text(encoding="utf-8") == files()[name], "run python -m scripts.env_examples"


@by_name
def test_every_setting_is_there_once(example: Example) -> None:
    """Each setting stands in the file, set or shown with its default, and nothing else does."""
    found = re.findall(r"^#?([A-Z_]+)=", (ROOT / example.name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(found) == sorted(variables())


def test_settings_are_an_env_files_or_an_images() -> None:
    """No setting of any service is forgotten: either an env file may hold it, or every image sets it for itself."""
    known = {row.variable for kind in settings_types().values() for row in settings_help(kind)}
    assert known == set(variables()) | set(SET_BY_IMAGES)


@by_name
def test_what_the_examples_promise(example: Example) -> None:
    """The values that people are told to start from."""
    assert defaults_of(example.name) == MANDATORY[example.name]


@by_name
def test_every_service_takes_the_example(example: Example) -> None:
    """Each settings class reads example and defaults without a complaint; orders to a venue are refused by execution alone."""
    given = {**image_defaults(), **defaults_of(example.defaults), **defaults_of(example.name)}
    environment = {name: value for name, value in given.items() if not name.endswith("_FILE")}
    refused = {}
    for reader, kind in settings_types().items():
        try:
            load(kind, environment)
        except ConfigurationError as error:
            refused[reader] = error.problems
    if example.name == "env.prod.example":
        assert re.match("ENABLE_PAPER_TRADING='false': orders to a test or live venue are not there yet", refused.pop("execution-service")[0])
    assert refused == {}


@pytest.mark.parametrize("path", [example.defaults for example in EXAMPLES] + ["docker/verbose.env"])
def test_defaults_are_settings(path: str) -> None:
    """What an environment sets by default is known to a settings class."""
    secrets = {f"{name}_FILE" for name, each in variables().items() if is_secret(each)}
    assert set(defaults_of(path)) <= set(variables()) | secrets


def test_images_set_what_env_files_cannot() -> None:
    """An image's environment names settings only; what is no env file's has its place there or in the code."""
    known = set(variables()) | set(SET_BY_IMAGES)
    assert {name for name in image_defaults() if name in known} == {"HTTP_HOST", "DATA_DIR", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "SIMULATOR_ADDRESS"}


def test_variables_of_the_compose_files_are_told() -> None:
    """What the Compose files ask the shell for stands in the examples, with the default that they use."""
    paths = [*ROOT.glob("docker-compose*.yml"), *(ROOT / "docker").glob("compose.*.yml")]
    asked = {path.name: dict(re.findall(r"\$\{([A-Z0-9_]+):[-+]([^}$]*)", path.read_text(encoding="utf-8"))) for path in paths}
    assert asked["docker-compose.yml"] == {name: default for name, (default, _) in COMPOSE_VARIABLES.items()}
    assert asked["docker-compose.dev.yml"] == {name: default for name, (default, _) in DEVELOPMENT_VARIABLES.items()}
    brokers = {**asked["compose.zookeeper.yml"], **asked["compose.cluster.yml"]}
    assert brokers.items() <= {name: default for name, (default, _) in {**COMPOSE_VARIABLES, **BROKER_VARIABLES}.items()}.items()
    assert set(BROKER_VARIABLES) <= set(brokers)
    passed_on = {"PUBLIC_DOMAIN": "localhost", **dict.fromkeys(MAIL, "")}
    assert asked["docker-compose.prod.yml"] | passed_on == {name: default for name, (default, _) in PRODUCTION_VARIABLES.items()}


def test_secrets_can_be_files() -> None:
    """Every secret may come as a file, from the shell too."""
    names = (ROOT / "docker" / "from-shell.env").read_text(encoding="utf-8").splitlines()
    secrets = [name for name, each in variables().items() if is_secret(each)]
    assert "CONTROL_TOKEN" in secrets
    assert {f"{name}_FILE" for name in secrets} <= set(names)
