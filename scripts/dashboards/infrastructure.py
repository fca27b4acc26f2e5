"""Infrastructure: services, what they run on, and monitoring itself."""

from monitoring import palette
from scripts.dashboards.frame import Board
from scripts.dashboards.panels import BYTES, COUNT, NONE_IS_GOOD, NUMBER, PER_SECOND, RATIO, SECONDS, Query, Row, lines, stat, table, timeline

_ANSWERS = {"away": palette.CRITICAL, "answers": palette.GOOD}


def _instance(metric: str) -> Query:
    return Query(f'{metric}{{job=~"$service"}}', "{{job}} {{instance}}")


_NOW = Row(
    "Now",
    4,
    (
        stat("Ready replicas", "Replicas that are.", COUNT, 'sum(crypto_bot_ready{job=~"$service"})'),
        stat("Down", "Targets that do not answer.", COUNT, 'count(up{job=~"$service"} == 0) or vector(0)', NONE_IS_GOOD),
        stat("Kafka now", "As the service sees it that sees it worst.", COUNT, 'min(crypto_bot_check_passed{check="transport"})', states=_ANSWERS),
        stat("Redis now", "As the service sees it that sees it worst.", COUNT, "min(crypto_bot_registry_up)", states=_ANSWERS),
        stat("Most memory", "Of a service's limit.", RATIO, "max(instance:crypto_bot_memory_used:ratio)", ((None, palette.GOOD), (0.85, palette.CRITICAL))),
        stat(
            "Most CPU",
            "Of a core, or of the container's limit below that, over 5 minutes.",
            RATIO,
            "max(instance:process_cpu:ratio_rate5m)",
            ((None, palette.GOOD), (0.9, palette.CRITICAL)),
        ),
        stat(
            "Least disk free",
            "Where a service keeps its data.",
            RATIO,
            "min(instance:crypto_bot_disk_free:ratio)",
            ((None, palette.CRITICAL), (0.1, palette.GOOD)),
        ),
        stat("Version", "One, unless a deployment has not been finished.", NUMBER, "max by (version) (crypto_bot_build_info)", name="{{version}}"),
    ),
)

_SERVICES = Row(
    "Services",
    9,
    (
        timeline(
            "Answering",
            "Whether each target answered the last scrape.",
            {"down": palette.CRITICAL, "up": palette.GOOD},
            Query('max by (job, instance) (up{job=~"$service"})', "{{job}} {{instance}}"),
            alerts=("ServiceDown", "ReplicaDown", "ServiceMissing"),
        ),
        timeline(
            "Ready",
            "Whether each replica says that it can do its work; its /health says why not.",
            {"not ready": palette.CRITICAL, "ready": palette.GOOD},
            Query('max by (job, instance) (crypto_bot_ready{job=~"$service"})', "{{job}} {{instance}}"),
            alerts=("ServiceUnready",),
        ),
        timeline(
            "Checks of health",
            "By service: the loop turns, outputs follow inputs, the way to the broker is open.",
            {"fails": palette.CRITICAL, "passes": palette.GOOD},
            Query('min by (job, check) (crypto_bot_check_passed{job=~"$service"})', "{{job}} {{check}}"),
            alerts=("LoopStuck", "NoProgress", "BrokerUnreachable"),
        ),
        timeline(
            "Way to Redis",
            "Whether it answers each service; nothing depends on it but the registry and the last states that are shown.",
            _ANSWERS,
            Query('min by (job, instance) (crypto_bot_registry_up{job=~"$service"})', "{{job}} {{instance}}"),
            alerts=("RedisUnreachable", "RedisPartlyUnreachable"),
        ),
        lines(
            "Running for",
            "Since each process began; a line that drops is a restart.",
            SECONDS,
            Query('time() - process_start_time_seconds{job=~"$service"}', "{{job}} {{instance}}"),
            width=12,
            minimum=0,
            alerts=("ServiceRestarting",),
        ),
        table(
            "What runs",
            "Version and profile of each service.",
            ((Query('max by (job, service, version, profile) (crypto_bot_build_info{job=~"$service"})', "runs"), ""),),
            alerts=("VersionsDiffer",),
        ),
    ),
)

_RESOURCES = Row(
    "Resources, against each process's own limits",
    8,
    (
        lines(
            "Memory",
            "Resident, with the process that fits are made in, as a share of the container's limit; at 100 % the process is killed.",
            RATIO,
            _instance("instance:crypto_bot_memory_used:ratio"),
            limits=((0.85, palette.CRITICAL),),
            minimum=0,
            alerts=("MemoryRunningOut",),
        ),
        lines(
            "CPU",
            "As a share of what its one thread can use: a core, or the container's limit below that; over 5 minutes.",
            RATIO,
            _instance("instance:process_cpu:ratio_rate5m"),
            limits=((0.9, palette.CRITICAL),),
            minimum=0,
            alerts=("CpuRunningOut",),
        ),
        lines(
            "Disk free",
            "Where each service keeps its data.",
            RATIO,
            _instance("instance:crypto_bot_disk_free:ratio"),
            limits=((None, palette.CRITICAL), (0.1, palette.WARNING), (0.3, palette.GOOD)),
            minimum=0,
            alerts=("DiskRunningOut",),
        ),
        lines("Resident memory", "In bytes.", BYTES, _instance("process_resident_memory_bytes"), width=6, minimum=0),
        lines(
            "Cores used",
            "Processor time a second.",
            NUMBER,
            Query('rate(process_cpu_seconds_total{job=~"$service"}[$__rate_interval])', "{{job}} {{instance}}"),
            width=6,
            minimum=0,
        ),
        lines(
            "File descriptors",
            "Open, as a share of how many may be.",
            RATIO,
            Query('process_open_fds{job=~"$service"} / process_max_fds{job=~"$service"}', "{{job}} {{instance}}"),
            limits=((0.8, palette.CRITICAL),),
            width=6,
            minimum=0,
            alerts=("FileDescriptorsRunningOut",),
        ),
        lines(
            "Garbage collections",
            "Of Python, a second, all generations.",
            PER_SECOND,
            Query('sum by (job, instance) (rate(python_gc_collections_total{job=~"$service"}[$__rate_interval]))', "{{job}} {{instance}}"),
            width=6,
            minimum=0,
        ),
    ),
)

_MONITORING = Row(
    "Monitoring itself",
    8,
    (
        lines(
            "Rules that fail",
            "Evaluations that failed, by group: its alerts are blind.",
            COUNT,
            Query("sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total[$__rate_interval]))", "{{rule_group}}"),
            width=6,
            minimum=0,
            alerts=("RuleFailures",),
        ),
        lines(
            "Time of the rules",
            "Each group's last evaluation, as a share of the time between two.",
            RATIO,
            Query("max by (rule_group) (prometheus_rule_group_last_duration_seconds / prometheus_rule_group_interval_seconds)", "{{rule_group}}"),
            limits=((1, palette.CRITICAL),),
            width=6,
            minimum=0,
            alerts=("RulesSlow",),
        ),
        lines(
            "Notifications",
            "What Alertmanager sent, and what it could not send, by the kind of receiver.",
            COUNT,
            Query("sum by (integration) (increase(alertmanager_notifications_total[$__rate_interval]))", "sent by {{integration}}"),
            Query("sum by (integration) (increase(alertmanager_notifications_failed_total[$__rate_interval]))", "failed by {{integration}}"),
            width=6,
            minimum=0,
            alerts=("NotificationsFail", "Watchdog"),
        ),
        lines(
            "Alerts on their way",
            "What Prometheus handed to Alertmanager, and what it could not hand over.",
            COUNT,
            Query("sum(increase(prometheus_notifications_sent_total[$__rate_interval]))", "handed over", palette.GOOD),
            Query("sum by (alertmanager) (increase(prometheus_notifications_errors_total[$__rate_interval]))", "not to {{alertmanager}}", palette.CRITICAL),
            width=6,
            minimum=0,
            alerts=("AlertsNotDelivered",),
        ),
        timeline(
            "Configuration",
            "Whether the last reload was accepted; after one that was refused the old configuration goes on.",
            {"refused": palette.CRITICAL, "accepted": palette.GOOD},
            Query("max(prometheus_config_last_reload_successful)", "Prometheus"),
            Query("max(alertmanager_config_last_reload_successful)", "Alertmanager"),
            alerts=("PrometheusConfigRejected", "AlertmanagerConfigRejected"),
        ),
        lines("Time of a scrape", "How long each target takes to answer; 4 s are allowed.", SECONDS, _instance("scrape_duration_seconds"), width=6, minimum=0),
        lines(
            "Series and samples",
            "Series that Prometheus keeps in memory, and samples that it takes in a second.",
            COUNT,
            Query("max(prometheus_tsdb_head_series)", "series", palette.LEG_A),
            Query("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "samples a second", palette.LEG_B),
            width=6,
            minimum=0,
        ),
    ),
)

INFRASTRUCTURE = Board(
    "infrastructure",
    "Infrastructure",
    "Whether the services answer, what they use of their limits, and whether monitoring itself works.",
    (_NOW, _SERVICES, _RESOURCES, _MONITORING),
    by_service=True,
)
