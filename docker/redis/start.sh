#!/bin/sh
# Starts Redis, with a password where one is given as a secret: through a file in memory, so that no process list shows it.
set -eu
umask 077
cp /etc/redis.conf /tmp/redis.conf
if [ -r /run/secrets/redis_password ]; then
    printf 'requirepass "%s"\n' "$(cat /run/secrets/redis_password)" >>/tmp/redis.conf
fi
exec redis-server /tmp/redis.conf
