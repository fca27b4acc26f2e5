"""Who of a service's replicas owns which pairs."""

import json

from tests.engine.deployed import Deployed
from tests.engine.stack import PROJECT, run

_PORTS = {"kalman-filter-service": 8001, "garch-volatility-service": 8002}


def pairs_by_replica(deployed: Deployed, service: str, project: str = PROJECT) -> dict[str, list[str]]:
    """The pairs of each replica, by its container, as it says itself."""
    owned = {}
    for container in deployed.containers(service, project):
        said = json.loads(run("docker", "exec", container, "curl", "-sf", f"http://127.0.0.1:{_PORTS[service]}/info"))
        owned[container] = sorted(said["details"]["pairs"])
    return owned
