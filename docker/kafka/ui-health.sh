#!/bin/sh
# Whether Kafka UI answers; with bash alone where the image has no wget.
if command -v wget >/dev/null; then exec wget -q -O /dev/null -T 3 http://127.0.0.1:8080/actuator/health; fi
exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080 && printf "GET /actuator/health HTTP/1.0\r\n\r\n" >&3 && head -n 1 <&3 | grep -q " 200 "'
