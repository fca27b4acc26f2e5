#!/bin/sh
# Starts Redis, with a password where one is given as a secret: through a file in memory, so that no process list shows it.
set -eu
umask 077
cp /etc/redis.conf /tmp/redis.conf
# A secret that is there and cannot be read ends this: a server without its password would be open.
if [ -e /run/secrets/redis_password ]; then
    password=$(cat /run/secrets/redis_password)
    printf 'requirepass "%s"\n' "$password" >>/tmp/redis.conf
fi
exec redis-server /tmp/redis.conf
