#!/usr/bin/env bash
# Looks for known vulnerabilities in our images, and fails on serious ones that an update would mend.
#
# Usage: scripts/image-scan.sh [OPTION]...
#
#   --service NAME     only this image; may be repeated: execution, ingestion-service, ... (default: all)
#   --tag TAG          the images' tag (default: latest)
#   --severity LIST    what counts as serious (default: HIGH,CRITICAL)
#   --help             says this
#
# The scanner runs in a container that sees one image as a file, and neither this folder nor the engine; TRIVY_IMAGE names another
# version of it. It fetches its list of vulnerabilities from the network.
#
# Exit status: 0 nothing found, 1 something found or a scan failed, 2 wrong usage. Runs on the bash 3.2 of macOS; needs Docker and the
# images, which scripts/docker-build.sh makes.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. scripts/lib/talk.sh
. scripts/lib/images.sh

services='' tag=latest severity=HIGH,CRITICAL
scanner=${TRIVY_IMAGE:-aquasec/trivy:0.69.3}

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                usage
                exit 0
                ;;
            --service | --tag | --severity)
                [ -n "${2:-}" ] || wrong "$1 needs a value"
                case "$1" in
                    --service) services="$services $(image_name "$2")" || exit ;;
                    --tag) tag=$2 ;;
                    --severity) severity=$2 ;;
                esac
                shift
                ;;
            *) wrong "$1: no such option" ;;
        esac
        shift
    done
}

# scan NAME: one image; says what was found and fails then.
scan() {
    local image=crypto-bot-$1:$tag
    docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image: make it with scripts/docker-build.sh --service $1"
    printf '%-20s ' "$1"
    docker save --output "$work/image.tar" "$image"
    if docker run --rm --volume "$work:/image:ro" --volume "$cache:/root/.cache" "$scanner" image --input /image/image.tar --scanners vuln \
        --ignore-unfixed --severity "$severity" --exit-code 1 --quiet >"$work/said" 2>&1; then
        echo 'nothing found'
    else
        echo 'FOUND'
        cat "$work/said" >&2
        return 1
    fi
}

parse "$@"
command -v docker >/dev/null || fail 'there is no docker; install Docker Engine 23 or later'
docker info >/dev/null 2>&1 || fail 'no Docker engine answers; start it, or check that this user may use it'
cache=crypto-bot-image-scan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
found=''
for service in ${services:-$IMAGES}; do scan "$service" || found="$found $service"; done
[ -z "$found" ] || fail "look at what was found in:$found; update the base image or the package (scripts/lock.sh --upgrade), then build anew"
