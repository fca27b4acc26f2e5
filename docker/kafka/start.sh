#!/usr/bin/env bash
# Starts the broker: KAFKA_* variables become its configuration, storage is formatted the first time, and then it runs.
#
# It does what the image's own start does, but says that storage is formatted already by going on instead of by an error, and
# takes nothing for granted but Java, the jars and the program that turns variables into properties.
set -euo pipefail
libraries='/opt/kafka/libs/*'
settings=/opt/kafka/config/server.properties

said=$(java -Xmx128m -cp "$libraries" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
    grep -q "already formatted" <<<"$said" || {
    printf '%s\n' "$said" >&2
    exit 1
}
# The options are several words each.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:-} ${KAFKA_JVM_PERFORMANCE_OPTS:-} -Dkafka.logs.dir=/opt/kafka/logs \
    -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml -cp "$libraries" kafka.Kafka "$settings"
