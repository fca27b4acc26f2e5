"""The Compose files: complete without any env file, hardened, on this machine only, development and production apart."""

from pathlib import Path
from typing import Any

import pytest

from scripts.operations.deployment_settings import RECEIVERS
from tests.repo.compose import BASE, DEVELOPMENT, OVERLAYS, PIPELINE, PRODUCTION, SETS, WORKER, config, deployment, run_compose

#: Service to its image and to the ports that it publishes.
INFRASTRUCTURE = {
    "kafka": ("apache/kafka", {"9092"}),
    "redis": ("redis", {"6379"}),
    "kafka-ui": ("ghcr.io/kafbat/kafka-ui", {"8090"}),
    "prometheus": ("prom/prometheus", {"9090"}),
    "alertmanager": ("prom/alertmanager", {"9093"}),
    "grafana": ("grafana/grafana", {"3000"}),
    "streamlit": ("crypto-bot-streamlit", {"8501"}),
    "gateway": ("crypto-bot-gateway", {"8000", "8001", "8002", "8003", "8004"}),
    "exchange-simulator": ("crypto-bot-exchange-simulator", set()),
    "topics": ("crypto-bot-tools", set()),
}
#: What the overlays add to it.
BROKERS = {
    "zookeeper": ("confluentinc/cp-zookeeper", {"2181"}),
    "kafka-2": ("apache/kafka", {"9192"}),
    "kafka-3": ("apache/kafka", {"9292"}),
}
LIMITS = {
    "ingestion-service": ("536870912", 0.5),
    "kalman-filter-service": ("1073741824", 1.0),
    "garch-volatility-service": ("1073741824", 1.5),
    "risk-manager-service": ("1073741824", 1.5),
    "execution-service": ("1073741824", 2.0),
}
GIB = 1024**3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment without env files."""
    return deployment(tmp_path_factory.mktemp("deployment"))


@pytest.fixture(scope="module")
def sets(folder: Path) -> dict[str, dict[str, Any]]:
    """All three sets of files, with no env file there and nothing set in the shell."""
    return {name: config(folder, files) for name, files in SETS.items()}


@pytest.fixture(scope="module")
def overlays(folder: Path) -> dict[str, dict[str, Any]]:
    """The same with other brokers."""
    return {name: config(folder, files) for name, files in OVERLAYS.items()}


@pytest.fixture(params=[*SETS, *OVERLAYS])
def made(request: pytest.FixtureRequest, sets: dict[str, dict[str, Any]], overlays: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {**sets, **overlays}[request.param]


def test_names(sets: dict[str, dict[str, Any]]) -> None:
    """Project, network, services, images and containers have the names that people know."""
    base = sets["base"]
    assert base["name"] == "crypto-bot"
    assert base["networks"]["crypto-bot-network"]["name"] == "crypto-bot_crypto-bot-network"
    assert set(base["services"]) == {*PIPELINE, *INFRASTRUCTURE}
    for name in PIPELINE:
        assert base["services"][name]["image"] == f"crypto-bot-{name.removesuffix('-service')}:latest"
        assert "container_name" not in base["services"][name]
    for name, (image, _) in INFRASTRUCTURE.items():
        assert base["services"][name]["image"].rpartition(":")[0] == image
        assert base["services"][name]["container_name"] == f"crypto-bot-{name}"


def test_ports_are_published_on_this_machine_only(made: dict[str, Any]) -> None:
    """The usual ports, all on the loopback address unless somebody says otherwise."""
    for name, service in made["services"].items():
        published = {port["published"] for port in service.get("ports", ())}
        tls = {"443", "80"} if "dashboard_users" in str(service.get("secrets")) else set()
        assert published == ({**INFRASTRUCTURE, **BROKERS}.get(name, ("", set()))[1] | tls)
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}


def test_ports_and_addresses_can_be_chosen(folder: Path) -> None:
    """The shell moves ports and addresses, and Kafka then tells its clients on the host the new one."""
    chosen = {"KAFKA_PORT": "19999", "BIND_ADDRESS": "0.0.0.0", "IMAGE_REGISTRY": "r.example.com/hft", "IMAGE_TAG": "v1"}
    services = config(folder, BASE, shell=chosen)["services"]
    (port,) = services["kafka"]["ports"]
    assert (port["published"], port["host_ip"], port["target"]) == ("19999", "0.0.0.0", 29092)
    assert services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092,HOST://localhost:19999"
    assert services["execution-service"]["image"] == "r.example.com/hft/crypto-bot-execution:v1"


def test_every_container_is_hardened(made: dict[str, Any]) -> None:
    """No container can write its image, gain rights, fork without end or fill the disk with its log."""
    for name, service in made["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"], name
        assert 0 < service["deploy"]["resources"]["limits"]["pids"] <= 512, name
        assert service["logging"] == {"driver": "json-file", "options": {"max-file": "5", "max-size": "10m"}}, name
        assert not service.get("privileged"), name
        assert not [mount for mount in service.get("volumes", ()) if "docker.sock" in mount["source"]], name
        assert service["restart"] == ("on-failure:5" if name == "topics" else "unless-stopped"), name


def test_no_container_runs_as_root(made: dict[str, Any]) -> None:
    """Each names a user of its own, or its image does: ours, Kafka's, ZooKeeper's and Kafka UI's."""
    by_image = {name for name, service in made["services"].items() if "user" not in service}
    assert by_image <= {*PIPELINE, "exchange-simulator", "topics", "streamlit", "gateway", "kafka", "kafka-ui", *BROKERS}
    assert not {service["user"].partition(":")[0] for service in made["services"].values() if "user" in service} & {"0", "root"}


def test_limits(made: dict[str, Any]) -> None:
    """Each service has its memory and processors; no limit asks for more processors than a small engine has."""
    limits = {name: service["deploy"]["resources"]["limits"] for name, service in made["services"].items()}
    assert {name: (limits[name]["memory"], limits[name]["cpus"]) for name in LIMITS} == LIMITS
    assert all(0 < limit["cpus"] <= 2 for limit in limits.values())


def test_production_fits_its_machine(sets: dict[str, dict[str, Any]]) -> None:
    """All limits together stay within 12 GB, and what grows with time within its share of 50 GB of disk."""
    production = sets["production"]["services"]
    assert sum(int(service["deploy"]["resources"]["limits"]["memory"]) for service in production.values()) <= 12 * GIB
    assert "--storage.tsdb.retention.time=30d" in production["prometheus"]["command"]
    assert "--storage.tsdb.retention.size=10GB" in production["prometheus"]["command"]
    assert production["execution-service"]["environment"]["KAFKA_DISK_GB"] == "20"


def test_start_waits_for_health(made: dict[str, Any]) -> None:
    """The pipeline starts once broker and registry are healthy and the topics are made."""
    for name in PIPELINE:
        waits = {other: wait["condition"] for other, wait in made["services"][name]["depends_on"].items()}
        assert waits.pop("topics") == "service_completed_successfully"
        assert {"kafka", "redis"} <= set(waits)
        assert set(waits.values()) == {"service_healthy"}


def test_networks(made: dict[str, Any]) -> None:
    """All meet in a network without a way out; only what publishes a port or speaks with the world is elsewhere too."""
    assert made["networks"]["crypto-bot-network"]["internal"]
    assert made["networks"]["edge"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    members = {name: set(service["networks"]) for name, service in made["services"].items()}
    assert all("crypto-bot-network" in networks for networks in members.values())
    assert {name for name, networks in members.items() if "egress" in networks} == {"ingestion-service", "execution-service", "alertmanager", "gateway"}
    assert {name for name, networks in members.items() if "edge" in networks} == {name for name, service in made["services"].items() if service.get("ports")}


def test_what_is_run_by_hand_stays_within_its_environment(folder: Path) -> None:
    """Health check and backup are not started by `up`, are hardened like the rest, and mount their own environment's volumes."""
    for name, files in SETS.items():
        made = config(folder, files, shell={"COMPOSE_PROFILES": "tools"})
        environment = "production" if name == "production" else "development"
        for service in ("operations", "backup"):
            each = made["services"][service]
            assert each["profiles"] == ["tools"]
            assert (each["read_only"], each["cap_drop"], each["restart"]) == (True, ["ALL"], "no")
        volumes = {mount["target"]: mount["source"] for mount in made["services"]["backup"]["volumes"] if mount["type"] == "volume"}
        assert volumes == {f"/volumes/{part}": f"{environment}-{part}" for part in ("execution", "risk-manager", "grafana", "prometheus")}


def test_environments_share_no_state(sets: dict[str, dict[str, Any]]) -> None:
    """Every volume carries its environment's name, and what holds state in development holds it in production."""
    used = {
        name: {service: {mount["source"] for mount in each.get("volumes", ()) if mount["type"] == "volume"} for service, each in made["services"].items()}
        for name, made in sets.items()
    }
    assert used["base"] == used["development"]
    for service, volumes in used["production"].items():
        assert volumes == {volume.replace("development-", "production-") for volume in used["base"][service]}
        assert all(volume.startswith("production-") for volume in volumes)


def test_development_trades_recorded_data_on_paper(sets: dict[str, dict[str, Any]]) -> None:
    """Base and development run the demo's profile against the simulator; development says more and forgets sooner."""
    for name, level in (("base", None), ("development", "DEBUG")):
        environment = sets[name]["services"]["execution-service"]["environment"]
        assert environment["TRADING_PROFILE"] == "demo"
        assert (environment.get("LOG_LEVEL"), environment.get("EXCHANGE")) == (level, None)
    assert "--storage.tsdb.retention.time=24h" in sets["development"]["services"]["prometheus"]["command"]


def test_production_has_no_simulator_and_its_secrets_in_files(sets: dict[str, dict[str, Any]]) -> None:
    """Binance's data, a password for Redis, tokens and logins by file, TLS at the gateway."""
    production = sets["production"]
    services = production["services"]
    assert "exchange-simulator" not in services
    assert services["ingestion-service"]["environment"]["EXCHANGE"] == "binance"
    assert "TRADING_PROFILE" not in services["execution-service"]["environment"]
    passwords = {"redis_password", "control_token", "grafana_admin_password", "kafka_ui_password", "dashboard_users"}
    assert set(production["secrets"]) == passwords | RECEIVERS
    assert {secret["source"] for secret in services["alertmanager"]["secrets"]} == RECEIVERS
    for name in (*PIPELINE, "topics", "streamlit", "redis"):
        assert "redis_password" in {secret["source"] for secret in services[name]["secrets"]}
    assert services["kafka-ui"]["environment"]["AUTH_TYPE"] == "LOGIN_FORM"
    assert {port["target"] for port in services["gateway"]["ports"]} >= {8443}


def test_grafana_asks_for_a_known_password_in_development_only(sets: dict[str, dict[str, Any]]) -> None:
    """Development looks without a login and changes things as admin, admin123; production knows neither, and shows the same dashboards."""
    environments = {name: made["services"]["grafana"]["environment"] for name, made in sets.items()}
    for name in ("base", "development"):
        assert environments[name]["GF_SECURITY_ADMIN_PASSWORD"] == "admin123"
        assert environments[name]["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
        assert environments[name]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    production = environments["production"]
    # Grafana refuses to start with both.
    assert {name for name in production if name.startswith("GF_SECURITY_ADMIN_PASSWORD")} == {"GF_SECURITY_ADMIN_PASSWORD__FILE"}
    assert production["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_admin_password"
    assert production["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    mounts = [{each["target"]: each["source"] for each in made["services"]["grafana"]["volumes"] if each["type"] == "bind"} for made in sets.values()]
    assert mounts[0] == mounts[1] == mounts[2]
    assert set(mounts[0]) == {"/etc/grafana/provisioning", "/etc/grafana/dashboards"}
    assert len({each["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] for each in environments.values()}) == 1


def test_development_reads_secrets_from_files_too(sets: dict[str, dict[str, Any]]) -> None:
    """Whatever reads an env file finds the folder of secrets, and cannot write there; production gives each what it needs."""
    services = sets["development"]["services"]
    for name in (*PIPELINE, "exchange-simulator", "topics", "streamlit"):
        (mount,) = [volume for volume in services[name]["volumes"] if volume["target"] == "/run/secrets"]
        assert (mount["type"], Path(mount["source"]).name, mount["read_only"]) == ("bind", "secrets", True)
    for name in ("base", "production"):
        assert not [service for service in sets[name]["services"].values() for volume in service.get("volumes", []) if volume["target"] == "/run/secrets"]


def test_shell_beats_env_file_beats_default(folder: Path, tmp_path: Path) -> None:
    """Each layer replaces the one below, variable by variable, and what nobody sets stays with the settings class."""
    here = deployment(tmp_path)
    (here / ".env.dev").write_text("LOG_LEVEL=WARNING\nSYMBOLS=BTCUSDT,SOLUSDT\nTRADING_PROFILE=standard\n", encoding="utf-8")
    for files in (BASE, DEVELOPMENT):
        environment = config(here, files, shell={"LOG_LEVEL": "ERROR"})["services"]["execution-service"]["environment"]
        assert (environment["LOG_LEVEL"], environment["SYMBOLS"], environment["TRADING_PROFILE"]) == ("ERROR", "BTCUSDT,SOLUSDT", "standard")
        assert "MAX_POSITION_SIZE" not in environment
    assert config(folder, DEVELOPMENT, shell={"LOG_LEVEL": "ERROR"})["services"]["topics"]["environment"]["LOG_LEVEL"] == "ERROR"


def test_production_ignores_developments_settings(sets: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """A .env.dev that lies beside production changes nothing there."""
    here = deployment(tmp_path)
    (here / ".env.dev").write_text("EXCHANGE=simulator\nENABLE_PAPER_TRADING=false\nBINANCE_TESTNET=false\nCONTROL_TOKEN=hostile\n", encoding="utf-8")
    for made in (config(here, PRODUCTION), sets["production"]):
        for name in PIPELINE:
            assert made["services"][name]["environment"] == sets["production"]["services"][name]["environment"]


def test_no_default_beats_an_env_file(folder: Path) -> None:
    """What is interpolated under `environment` would go before env files: only the host's port of Kafka and two links are, in what reads none."""
    for files in SETS.values():
        services = config(folder, files, "--no-interpolate", "--no-env-resolution")["services"]
        given = {name: service["environment"] for name, service in services.items() if service.get("environment")}
        lines = {name: each if isinstance(each, list) else [f"{variable}={value}" for variable, value in each.items()] for name, each in given.items()}
        interpolated = {(name, line.partition("=")[0]) for name, each in lines.items() for line in each if "$" in line}
        assert interpolated == {("kafka", "KAFKA_ADVERTISED_LISTENERS"), ("prometheus", "GRAFANA_URL"), ("prometheus", "RUNBOOK_URL")}
        assert not {name for name in given if services[name].get("env_file")}


def test_kafka(sets: dict[str, dict[str, Any]]) -> None:
    """One listener for containers, one for the host, one for the controller; data lies in the volume; topics are never guessed."""
    for made in sets.values():
        kafka = made["services"]["kafka"]
        environment = kafka["environment"]
        assert environment["KAFKA_LISTENERS"] == "PLAINTEXT://:9092,HOST://:29092,CONTROLLER://:29093"
        assert environment["KAFKA_LOG_DIRS"] in {mount["target"] for mount in kafka["volumes"] if mount["type"] == "volume"}
        assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
        assert (made["services"]["execution-service"]["stop_grace_period"], kafka["stop_grace_period"]) == ("45s", "1m0s")


# --- other brokers ----------------------------------------------------------------------------------------------------


def test_zookeeper_mode(overlays: dict[str, dict[str, Any]]) -> None:
    """Kafka 3.9 keeps its usual addresses, waits for ZooKeeper and knows nothing of the quorum that it would have without."""
    for made in (overlays["zookeeper"], overlays["zookeeper in production"]):
        kafka, zookeeper = made["services"]["kafka"], made["services"]["zookeeper"]
        assert (kafka["image"], zookeeper["image"]) == ("confluentinc/cp-kafka:7.9.0", "confluentinc/cp-zookeeper:7.9.0")
        assert zookeeper["container_name"] == "crypto-bot-zookeeper"
        assert kafka["depends_on"]["zookeeper"]["condition"] == "service_healthy"
        environment = {name: value for name, value in kafka["environment"].items() if value is not None}
        assert environment["KAFKA_ZOOKEEPER_CONNECT"] == "zookeeper:2181"
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092,HOST://localhost:9092"
        assert not [name for name in environment if "CONTROLLER" in name or "PROCESS_ROLES" in name or "SHARE" in name or name == "CLUSTER_ID"]


def test_cluster(overlays: dict[str, dict[str, Any]]) -> None:
    """Three brokers with numbers, names and volumes of their own hold every record three times, and two of them are enough."""
    for made in (overlays["cluster"], overlays["cluster in production"]):
        brokers = [made["services"][name] for name in ("kafka", "kafka-2", "kafka-3")]
        environments = [broker["environment"] for broker in brokers]
        assert [each["KAFKA_NODE_ID"] for each in environments] == ["1", "2", "3"]
        assert {(each["KAFKA_DEFAULT_REPLICATION_FACTOR"], each["KAFKA_MIN_INSYNC_REPLICAS"]) for each in environments} == {("3", "2")}
        assert {each["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] for each in environments} == {"3"}
        voters = {each["KAFKA_CONTROLLER_QUORUM_VOTERS"] for each in environments}
        assert voters == {"1@kafka-1:29093,2@kafka-2:29093,3@kafka-3:29093"}
        ports = ("9092", "9192", "9292")
        assert [each["KAFKA_ADVERTISED_LISTENERS"] for each in environments] == [
            f"PLAINTEXT://kafka-{number}:9092,HOST://localhost:{port}" for number, port in enumerate(ports, start=1)
        ]
        assert len({mount["source"] for broker in brokers for mount in broker["volumes"] if mount["type"] == "volume"}) == 3
        assert len({(broker["environment"]["KAFKA_HEAP_OPTS"], broker["deploy"]["resources"]["limits"]["memory"]) for broker in brokers}) == 1
        # Whoever asks for `kafka` finds one that is there, and each finds the others by a name that is nobody else's.
        assert [broker["networks"]["crypto-bot-network"]["aliases"] for broker in brokers] == [["kafka-1"], ["kafka"], ["kafka"]]
        assert made["services"]["topics"]["environment"]["TOPIC_REPLICATION"] == "3"


def test_production_keeps_its_name_with_other_brokers(overlays: dict[str, dict[str, Any]]) -> None:
    """No volume of development's is used there."""
    for name in ("zookeeper in production", "cluster in production"):
        for service in overlays[name]["services"].values():
            assert not [mount for mount in service.get("volumes", ()) if mount["source"].startswith("development-")]


def test_workers(tmp_path: Path) -> None:
    """Replicas of the models alone, hardened as everywhere, with settings of the shell; without a Kafka elsewhere there is nothing to start."""
    here = deployment(tmp_path)
    services = config(here, WORKER, shell={"KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092", "SYMBOLS": "BTCUSDT,SOLUSDT"})["services"]
    assert set(services) == {"kalman-filter-service", "garch-volatility-service"}
    for name, service in services.items():
        assert (service["environment"]["KAFKA_BOOTSTRAP_SERVERS"], service["environment"]["SYMBOLS"]) == ("kafka.example.com:9092", "BTCUSDT,SOLUSDT")
        assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
        limits = service["deploy"]["resources"]["limits"]
        assert (limits["memory"], limits["cpus"]) == LIMITS[name]
        assert "ports" not in service
    ran = run_compose(here, WORKER, "config")
    assert ran.returncode != 0
    assert "say which Kafka to join" in ran.stderr
