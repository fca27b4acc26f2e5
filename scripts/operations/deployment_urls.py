"""Where a deployment is to be found, by the ports that it publishes."""

from collections.abc import Iterator

from scripts.operations.deployment_facts import Facts, environment_of

#: Service and port in its container, in the order of the table: what is there, and how it is spoken with.
PLACES = {
    ("streamlit", 8501): ("Streamlit", "http"),
    ("grafana", 3000): ("Grafana", "http"),
    ("prometheus", 9090): ("Prometheus", "http"),
    ("alertmanager", 9093): ("Alertmanager", "http"),
    ("kafka-ui", 8080): ("Kafka UI", "http"),
    ("gateway", 8000): ("ingestion", "http"),
    ("gateway", 8001): ("kalman-filter", "http"),
    ("gateway", 8002): ("garch-volatility", "http"),
    ("gateway", 8003): ("execution", "http"),
    ("gateway", 8004): ("risk-manager", "http"),
    ("kafka", 29092): ("Kafka", ""),
    ("redis", 6379): ("Redis", ""),
}
TLS_PORT = 8443


def urls(facts: Facts) -> Iterator[tuple[str, str]]:
    """Name and address of everything that is published."""
    published = {
        (name, int(port["target"])): (port.get("host_ip", ""), str(port["published"]))
        for name, service in facts.services.items()
        for port in service.get("ports") or ()
        if port.get("published")
    }
    for place, (name, scheme) in PLACES.items():
        if place in published:
            address, port = published[place]
            health = "/health" if place[0] == "gateway" else ""
            yield name, f"{scheme + '://' if scheme else ''}{_host(address)}:{port}{health}"
    if ("gateway", TLS_PORT) in published:
        port = published["gateway", TLS_PORT][1]
        domain = environment_of(facts.services["gateway"]).get("PUBLIC_DOMAIN") or "localhost"
        for name in ("dashboard", "grafana", "kafka-ui"):
            yield f"{name} over TLS", f"https://{name}.{domain}{'' if port == '443' else ':' + port}"


def _host(address: str) -> str:
    return "localhost" if address in {"", "127.0.0.1", "0.0.0.0", "::"} else address  # noqa: S104  # compared, not bound
