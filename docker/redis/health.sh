#!/bin/sh
# Whether Redis answers.
if [ -r /run/secrets/redis_password ]; then
    REDISCLI_AUTH=$(cat /run/secrets/redis_password)
    export REDISCLI_AUTH
fi
[ "$(redis-cli ping)" = PONG ]
