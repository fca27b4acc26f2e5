#!/usr/bin/env bash
# Checks the code without running it: format, lint, types, architecture, shell scripts, spelling.
# Usage: scripts/check.sh [--fix]     --fix formats first and mends what ruff can mend by itself
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
case "${1:-}" in
    "" | --fix) ;;
    *)
        sed -n '2,3s/^# //p' scripts/check.sh
        [ "$1" = --help ] || [ "$1" = -h ] || exit 2
        exit 0
        ;;
esac
scripts/setup.sh dev
PATH=$(CDPATH='' cd "${CRYPTO_BOT_VENV:-.venv}/bin" && pwd):$PATH
code=(common docker monitoring services scripts tests)
failed=''

# check NAME COMMAND...: runs it, shows what it says only if it fails.
check() {
    local name=$1 started=$SECONDS output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok      %-14s %3d s\n' "$name" $((SECONDS - started))
    else
        printf '%s\nFAILED  %-14s %3d s\n' "$output" "$name" $((SECONDS - started))
        failed="$failed $name"
    fi
}

if [ "${1:-}" = --fix ]; then
    ruff check --fix --quiet "${code[@]}" || true
    ruff format --quiet "${code[@]}"
fi
check format ruff format --check --quiet --diff "${code[@]}"
check lint ruff check --quiet "${code[@]}"
check types mypy --no-error-summary "${code[@]}"
check architecture lint-imports --no-logo
check shell shellcheck scripts/*.sh scripts/lib/*.sh docker/*.sh docker/*/*.sh .ci/run
check spelling codespell

if [ -n "$failed" ]; then
    echo "check:$failed failed"
    exit 1
fi
echo "check: all passed"
