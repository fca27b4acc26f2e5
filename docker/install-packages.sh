#!/bin/sh
# Installs /requirements.txt into the image's environment, at build time: with hashes, compiled, without the packages' own tests.
set -eu
export HOME=/tmp UV_CACHE_DIR=/cache UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/venv
[ -d "$VIRTUAL_ENV" ] || /uv venv --quiet --python /usr/local/bin/python3 "$VIRTUAL_ENV"
/uv pip install --quiet --no-deps --require-hashes --requirement /requirements.txt
# A third of the numeric packages is their tests.
find "$VIRTUAL_ENV/lib" -type d -name tests -prune -exec rm -rf {} +
# A file that does not compile is some package's template.
"$VIRTUAL_ENV/bin/python" -m compileall -q -q -j 0 "$VIRTUAL_ENV/lib" || true
