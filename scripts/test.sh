#!/usr/bin/env bash
# Runs the tests: sets itself up, then hands all arguments to pytest.
# Usage: [TEST_LEVEL=all] scripts/test.sh [pytest option | path]...
# TEST_LEVEL=all adds the tests that need real servers or minutes; without it no server is touched but those the tests start.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
scripts/setup.sh dev
exec "${CRYPTO_BOT_VENV:-.venv}/bin/python" -m pytest "$@"
