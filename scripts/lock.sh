#!/usr/bin/env bash
# Remakes requirements/*.txt from the extras in pyproject.toml, with hashes and without any index address.
# Versions stay as they are unless pyproject.toml or --upgrade asks for others. All files hold the same versions.
#
# Usage: scripts/lock.sh [--upgrade | --upgrade-package NAME]...
# Needs uv (https://docs.astral.sh/uv/), on PATH or named by $UV, and Python 3.11 or later as python3 or $PYTHON.
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
    ;;
esac

cd "$(dirname "$0")/.."
uv=${UV:-uv}
python=${PYTHON:-python3}
command -v "$uv" >/dev/null || {
    echo "lock.sh: uv is not on PATH; install it (pip install uv) or name it: UV=/path/to/uv scripts/lock.sh" >&2
    exit 1
}

mkdir -p requirements
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile EXTRA [option...]: the new file takes the versions of the old one as its preference.
compile() {
    local extra=$1 target=requirements/$1.txt
    shift
    [ ! -f "$target" ] || cp "$target" "$work/$extra.txt"
    "$uv" pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --extra "$extra" --output-file "$work/$extra.txt" "$@" pyproject.toml >/dev/null
    { "$python" scripts/requirement_inputs.py "$extra" && cat "$work/$extra.txt"; } >"$work/made"
    mv "$work/made" "$target"
    echo "$target: $(grep -c '==' "$target") packages"
}

"$python" scripts/requirement_inputs.py >"$work/names"
compile dev "$@"
while read -r extra; do
    [ "$extra" = dev ] || compile "$extra" --constraint requirements/dev.txt
done <"$work/names"
