#!/usr/bin/env bash
# Asks the broker for its API versions over a bare socket: Kafka's own tool would start a JVM every few seconds.
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/9092
# Length 10, ApiVersions (18) in version 0, correlation 1, a client without a name.
printf '\0\0\0\12\0\22\0\0\0\0\0\1\0\0' >&3
# The answer begins with its length, the correlation and error 0.
answer=$(head -c 10 <&3 | od -An -v -t x1 | tr -d ' \n')
[ "${answer:8:12}" = 000000010000 ]
