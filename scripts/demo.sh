#!/usr/bin/env bash
# Runs the whole system on recorded data: sets itself up, starts everything, trades on paper, shows it and sums it up.
# Usage: scripts/demo.sh [OPTION]...   (--help lists them)
set -euo pipefail
# Paths among the options are meant from where the user stands.
export DEMO_CALLER_DIR="$PWD"
CDPATH='' cd "$(dirname "$0")/.."
scripts/setup.sh demo
# The pages need much that nothing else does.
case " $* " in *" --ui "*) scripts/setup.sh dashboard ;; esac
exec "${CRYPTO_BOT_VENV:-.venv}/bin/python" -m scripts.embedded "$@"
