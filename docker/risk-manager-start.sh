#!/usr/bin/env bash
# Starts risk-manager; where no token is given, with one of this deployment's own, so that halting always works.
set -euo pipefail
file=${DATA_DIR:-/app/data}/control_token
if [ -z "${CONTROL_TOKEN:-}${CONTROL_TOKEN_FILE:-}" ]; then
    [ -s "$file" ] || (umask 077 && head -c 24 /dev/urandom | base64 >"$file")
    export CONTROL_TOKEN_FILE=$file
fi
exec python -m services.risk_manager
