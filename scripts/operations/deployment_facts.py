"""What a deployment is judged by: what Compose makes of the files, what this engine has and runs, the secrets."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_HEAD = re.compile(r"^## (config|hashes|images|containers|secret (?P<name>\S+))$")


class Container(NamedTuple):
    """One container of the project, running or not."""

    service: str
    settings_hash: str
    image_id: str
    state: str
    environment: Mapping[str, str]


class Facts(NamedTuple):
    """All of it."""

    #: Service to what Compose makes of it.
    services: Mapping[str, Mapping[str, Any]]
    #: Service to the hash that Compose keeps of it in its containers.
    hashes: Mapping[str, str]
    #: Image name to id, of those that this engine has.
    images: Mapping[str, str]
    containers: tuple[Container, ...]
    #: Name of a secret to what its file holds.
    secrets: Mapping[str, str]


def parse_facts(text: str) -> Facts:
    """Read the sections that scripts/lib/deploy-plan.sh writes.

    Raises
    ------
    ValueError
        When the configuration is not there or no JSON.
    """
    sections = _sections(text)
    config = json.loads(sections.get("config", ""))
    return Facts(
        services=config["services"],
        hashes=_pairs(sections.get("hashes", "")),
        images=_pairs(sections.get("images", "")),
        containers=tuple(_container(json.loads(line)) for line in sections.get("containers", "").splitlines() if line),
        secrets={name.removeprefix("secret "): value.strip() for name, value in sections.items() if name.startswith("secret ")},
    )


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """What Compose gives a service's containers; in its output a dollar sign stands twice."""
    given: Mapping[str, Any] = service.get("environment") or {}
    return {name: str(value).replace("$$", "$") for name, value in given.items() if value is not None}


def _sections(text: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            lines = found.setdefault(head[1], [])
        else:
            lines.append(line)
    return {name: "\n".join(each) for name, each in found.items()}


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())


def _container(inspected: Mapping[str, Any]) -> Container:
    labels = inspected["labels"]
    return Container(
        service=labels["com.docker.compose.service"],
        settings_hash=labels.get("com.docker.compose.config-hash", ""),
        image_id=inspected["image"],
        state=inspected["state"],
        environment=dict(line.partition("=")[::2] for line in inspected["environment"] or ()),
    )
