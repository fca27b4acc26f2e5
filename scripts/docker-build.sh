#!/usr/bin/env bash
# Builds the images of the services, one after the other, and says how large our part of each is.
#
# Usage: scripts/docker-build.sh [OPTION]...
#
#   --service NAME     only this image; may be repeated: execution, ingestion-service, ... (default: all)
#   --registry R       names the images R/crypto-bot-NAME as well, for example registry.example.com/hft
#   --tag TAG          tags the images so instead of with the version; latest is always tagged too
#   --push             pushes what carries the registry's name; needs --registry and a login there
#   --platform LIST    for these machines, for example linux/amd64,linux/arm64; more than one needs --push
#   --no-cache         builds every layer anew
#   --help             says this
#
# Exit status: 0 done, 1 an image failed, 2 wrong usage. Runs on the bash 3.2 of macOS; needs Docker with BuildKit.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. scripts/lib/talk.sh
. scripts/lib/images.sh

services='' registry='' tag='' push='' platform='' cache=''

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                usage
                exit 0
                ;;
            --push) push=yes ;;
            --no-cache) cache=--no-cache ;;
            --service | --registry | --tag | --platform)
                [ -n "${2:-}" ] || wrong "$1 needs a value"
                case "$1" in
                    --service) services="$services $(image_name "$2")" || exit ;;
                    --registry) registry=${2%/} ;;
                    --tag) tag=$2 ;;
                    --platform) platform=$2 ;;
                esac
                shift
                ;;
            *) wrong "$1: no such option" ;;
        esac
        shift
    done
    [ -z "$push" ] || [ -n "$registry" ] || wrong "--push needs --registry"
    case "$platform" in *,*) [ -n "$push" ] || wrong "--platform $platform: an engine holds one platform; add --registry and --push" ;; esac
}

# names NAME: what the image is called, one a line; with a push for several platforms only what is pushed.
names() {
    local base
    for base in ${push_directly:-crypto-bot-$1} ${registry:+"$registry/crypto-bot-$1"}; do
        [ "$base" = only ] || printf '%s\n' "$base:$tag" "$base:latest"
    done
}

# our_bytes IMAGE: the size of the layers from the first of our own instructions on.
our_bytes() {
    docker history --human=false --no-trunc --format '{{.Size}} {{.CreatedBy}}' "$1" | awk '{sum += $1} /10001/ {ours = sum} END {print ours + 0}'
}

build() {
    local name=$1 started=$SECONDS image
    set -- docker build
    [ -z "${push_directly:-}" ] || set -- docker buildx build --push
    set -- "$@" --file docker/Dockerfile --target "$name" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created"
    [ -z "$platform" ] || set -- "$@" --platform "$platform"
    [ -z "$cache" ] || set -- "$@" "$cache"
    for image in $(names "$name"); do set -- "$@" --tag "$image"; done
    printf '%-20s ' "$name"
    "$@" . >"$log" 2>&1 || {
        echo FAILED
        tail -n 30 "$log" >&2
        fail "$name could not be built (see above); check the network and the free disk, then run this again"
    }
    if [ -n "${push_directly:-}" ]; then
        printf 'pushed %21s s\n' $((SECONDS - started))
        return
    fi
    printf '%6d MB of our layers %6d s\n' $(($(our_bytes "crypto-bot-$name:latest") / 1000000)) $((SECONDS - started))
    [ -z "$push" ] || push_image "$name"
}

push_image() {
    local image
    for image in $(names "$1"); do
        case "$image" in
            "$registry"/*)
                docker push --quiet "$image" >"$log" 2>&1 || fail "$image could not be pushed: $(tail -n 1 "$log")"
                printf '%-20s pushed as %s\n' '' "$image"
                ;;
        esac
    done
}

parse "$@"
version=$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' common/version.py)
tag=${tag:-$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# Of the commit, not of now: the same code gives the same image.
created=$(git log -1 --format=%cI 2>/dev/null || echo unknown)
case "$platform" in *,*) push_directly=only ;; esac
command -v docker >/dev/null || fail "there is no docker; install Docker Engine 23 or later"
docker info >/dev/null 2>&1 || fail "no Docker engine answers; start it, or check that this user may use it"
export DOCKER_BUILDKIT=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for service in ${services:-$IMAGES}; do build "$service"; done
