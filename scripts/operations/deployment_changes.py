"""What a deployment would change: containers, the account that is traded, and which images run until then."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from scripts.operations.deployment_facts import Container, Facts, environment_of

#: What may come and go while orders are sent.
BESIDE_THE_ORDER_PATH = {"streamlit", "gateway", "kafka-ui", "prometheus", "alertmanager", "grafana"}
ONE_SHOT = {"topics"}
#: What says whose money is traded where; a different value is another account.
ACCOUNT = ("EXCHANGE", "BINANCE_MARKET", "BINANCE_TESTNET", "ENABLE_PAPER_TRADING", "LIVE_TRADING_CONFIRM", "BINANCE_API_KEY", "BINANCE_API_KEY_FILE")
OURS = "crypto-bot-"


class Change(NamedTuple):
    """What becomes of a service."""

    kind: str
    service: str
    reason: str = ""


def changes(facts: Facts, scale: Mapping[str, int]) -> list[Change]:
    """Every service that something becomes of, in the order of the kinds."""
    found = [change for name in facts.services if (change := _change(facts, name, scale.get(name, 1)))]
    gone = sorted({each.service for each in facts.containers} - set(facts.services))
    order = ("create", "recreate", "start", "scale", "remove")
    return sorted([*found, *(Change("remove", name) for name in gone)], key=lambda change: order.index(change.kind))


def _change(facts: Facts, name: str, replicas: int) -> Change | None:
    containers = [each for each in facts.containers if each.service == name]
    if not containers:
        return Change("create", name)
    reasons = _reasons(facts, name, containers)
    if reasons:
        return Change("recreate", name, " and ".join(reasons))
    if len(containers) != replicas:
        return Change("scale", name, f"{len(containers)} to {replicas}")
    if name not in ONE_SHOT and any(each.state != "running" for each in containers):
        return Change("start", name)
    return None


def _reasons(facts: Facts, name: str, containers: list[Container]) -> list[str]:
    wanted = facts.images.get(facts.services[name]["image"], "")
    return [
        reason
        for reason, differs in (
            ("settings", any(each.settings_hash != facts.hashes.get(name) for each in containers)),
            ("image", any(each.image_id != wanted for each in containers)),
        )
        if differs
    ]


def stops_the_order_path(found: list[Change], facts: Facts) -> bool:
    """Whether something that orders rest on changes while they are sent; a further replica disturbs none."""
    running = {each.service for each in facts.containers if each.state == "running"}
    touched = {change.service for change in found if change.kind not in {"start", "scale"}} - BESIDE_THE_ORDER_PATH - ONE_SHOT
    return bool(touched) and bool(running & {"execution-service", "risk-manager-service"})


def account_changes(facts: Facts) -> Iterator[str]:
    """Settings of the account that differ from those of the container that is there; keys are not shown."""
    there = next((each for each in facts.containers if each.service == "execution-service"), None)
    if there is None:
        return
    wanted = environment_of(facts.services["execution-service"])
    for name in ACCOUNT:
        before, after = there.environment.get(name, ""), wanted.get(name, "")
        if before != after:
            yield f"{name} is another" if "KEY" in name else f"{name}: {before or 'default'} to {after or 'default'}"


def previous_images(facts: Facts) -> dict[str, str]:
    """Our images to go back to, by local name: those of the containers, else the ones that come; empty when none differs."""
    found: dict[str, str] = {}
    differs = False
    for name, service in facts.services.items():
        local = service["image"].rpartition("/")[2].partition(":")[0]
        if not local.startswith(OURS):
            continue
        comes = facts.images.get(service["image"], "")
        runs = next((each.image_id for each in facts.containers if each.service == name), "")
        differs |= bool(runs) and runs != comes
        if runs or comes:
            found.setdefault(local, runs or comes)
    return found if differs else {}
