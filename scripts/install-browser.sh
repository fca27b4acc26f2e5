#!/usr/bin/env bash
# Installs Chromium where apt is there and may be used; nothing where a browser is found already.
#
# Usage: scripts/install-browser.sh
#
# Exit status: 0 there is a browser, 1 there is none and it could not be installed, 2 wrong usage.
set -euo pipefail

say() { printf 'install-browser: %s\n' "$*" >&2; }

# have_browser: whether one of the names that scripts/browser looks for is there.
have_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then return; fi
    done
    [ -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ]
}

main() {
    case "${1:-}" in
        "") ;;
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
            return
            ;;
        *)
            say "takes no arguments: $0 --help"
            return 2
            ;;
    esac
    if have_browser; then return; fi
    if ! command -v apt-get >/dev/null; then
        say "there is no apt-get here: install Chromium or Chrome yourself"
        return 1
    fi
    if [ "$(id -u)" != 0 ]; then
        say "only root may install packages: sudo $0"
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    say "installing chromium"
    # Without recommendations there would be no letters.
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null || ! have_browser; then
        say "apt-get could not install chromium: check the network and the package sources, then run this again"
        return 1
    fi
}

main "$@"
