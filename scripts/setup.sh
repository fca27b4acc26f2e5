#!/usr/bin/env bash
# Makes the Python environment: a venv with the pinned packages of one file under requirements/.
#
# Usage: scripts/setup.sh [NAME]     NAME is dev (default: everything and the tools), demo, or another file's name
#
#   PYTHON          the interpreter to use; default: the first of python3, python3.13, 3.12, 3.11, 3.14 that is 3.11 to 3.14
#   CRYPTO_BOT_VENV the folder of the environment; default: .venv in this project
#
# Needs nothing but Python 3.11 or later; uses uv where it is on PATH. A second run finds everything there and says nothing.
# An interrupted run, another Python or a moved folder makes the environment anew. Runs on the bash 3.2 of macOS.
set -euo pipefail

root=$(CDPATH='' cd "$(dirname "$0")/.." && pwd)
venv=${CRYPTO_BOT_VENV:-$root/.venv}
case "$venv" in /*) ;; *) venv=$root/$venv ;; esac
mark=$venv/crypto-bot-environment # "VERSION FOLDER" once complete; "unfinished" until then

say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# The version of an interpreter, such as 3.11.7; fails where it is none or too old.
version_of() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

# find_python SUPPORTED...: the first interpreter on PATH whose version begins with one of these.
find_python() {
    local candidate version supported
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        version=$(version_of "$candidate") || continue
        for supported in "$@"; do
            case "$version" in "$supported".*)
                command -v "$candidate"
                return
                ;;
            esac
        done
    done
    return 1
}

choose_python() {
    local version
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON") || fail "PYTHON=$PYTHON is no Python that runs; name one of 3.11 or later, for example PYTHON=python3.12"
        case "$version" in 2.* | 3.[0-9].* | 3.10.*) fail "PYTHON=$PYTHON is Python $version; 3.11 or later is needed" ;; esac
        python=$(command -v "$PYTHON")
    elif ! python=$(find_python 3.11 3.12 3.13 3.14 || find_python 3.15 3.16 3.17); then
        version=$(version_of python3) || version=none
        fail "Python 3.11 or later is needed; python3 here: $version" \
            "install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13; or https://www.python.org)," \
            "or name one: PYTHON=/path/to/python3.12 $0"
    fi
}

# Whether the environment was made to the end by this script, with this Python, for this folder, and still runs.
is_sound() {
    [ -f "$mark" ] && [ "$(cat "$mark")" = "$python_version $venv" ] && [ "$(version_of "$venv/bin/python")" = "$python_version" ]
}

# has FILE: whether the packages of this file are in; those of dev.txt include those of the others that scripts ask for.
has() {
    cmp -s "$requirements/$1.txt" "$venv/crypto-bot-$1.txt"
}
is_complete() {
    is_sound && { has "$1" || case "$1" in demo | dashboard) has dev ;; *) false ;; esac; }
}

# An environment that uv made holds no pip.
can_install() {
    [ -n "$uv" ] || "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

make_environment() {
    if [ -e "$venv" ] && [ ! -f "$mark" ]; then
        [ -d "$venv" ] && [ -z "$(ls -A "$venv")" ] || fail "$venv is there and was not made by this script; move it away or set CRYPTO_BOT_VENV to another folder"
    fi
    [ -n "$uv" ] || "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "Python $python_version ($python) has no venv module;" \
        "install it (Debian, Ubuntu: apt install python3-venv), or install uv; then run this again"
    rm -rf "$venv" 2>/dev/null || fail "$venv cannot be replaced; remove it or set CRYPTO_BOT_VENV to another folder"
    { mkdir -p "$venv" && echo unfinished >"$mark"; } 2>/dev/null || fail "$venv cannot be written; set CRYPTO_BOT_VENV to a folder that this user may write"
    say "making an environment with Python $python_version in $venv"
    if [ -n "$uv" ]; then
        "$uv" venv --quiet --allow-existing --python "$python" "$venv" || fail "uv could not make $venv (see above)"
    else
        "$python" -m venv "$venv" >"$venv/crypto-bot-venv.log" 2>&1 || fail "$python -m venv failed:" "$(tail -n 5 "$venv/crypto-bot-venv.log")"
    fi
}

install_packages() {
    local file=$requirements/$1.txt count
    count=$(grep -c '==' "$file" || true)
    if [ -n "$uv" ]; then
        say "installing $count packages with uv"
        "$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --no-deps --require-hashes --requirement "$file" || not_installed
    else
        say "installing $count packages with pip; the first time this takes a minute or two"
        PIP_USER=false PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --progress-bar off --no-compile --no-deps \
            --require-hashes --requirement "$file" 2>"$venv/crypto-bot-pip.log" | show_progress || not_installed "$(tail -n 5 "$venv/crypto-bot-pip.log")"
        # On all cores, where pip would use one; a module that does not compile is some package's template.
        say "compiling"
        "$venv/bin/python" -m compileall -q -q -j 0 "$venv/lib" || true
    fi
}

not_installed() {
    fail ${1+"$1"} "the packages could not be installed; check the network, the proxy and the free space, then run this again"
}

# One line for every tenth package that pip takes up.
show_progress() {
    local line taken=0
    while read -r line; do
        case "$line" in
            "Collecting "*)
                taken=$((taken + 1))
                [ $((taken % 10)) -ne 0 ] || say "$taken packages fetched"
                ;;
            "Installing "*) say "unpacking" ;;
        esac
    done
}

main() {
    case "${1:-dev}" in
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
            return
            ;;
    esac
    local name=${1:-dev} parent
    requirements=$root/requirements
    [ -f "$requirements/$name.txt" ] || fail "there is no requirements/$name.txt; choose one of: $(cd "$requirements" && echo *.txt | sed 's/\.txt//g')"
    choose_python
    python_version=$(version_of "$python")
    is_complete "$name" && return

    # Two set-ups at once: the second waits on this file descriptor, which the system lets go of however this one ends.
    parent=$(dirname "$venv")
    mkdir -p "$parent" 2>/dev/null || fail "$parent cannot be made; set CRYPTO_BOT_VENV to a folder that this user may write"
    exec 9<"$parent"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null || {
        say "another set-up is at work; waiting for it"
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    }
    is_complete "$name" && return

    uv=$(command -v uv || true)
    if ! is_sound || ! can_install; then make_environment; fi
    echo unfinished >"$mark"
    install_packages "$name"
    cp "$requirements/$name.txt" "$venv/crypto-bot-$name.txt"
    echo "$python_version $venv" >"$mark"
    say "ready: $venv"
}

main "$@"
