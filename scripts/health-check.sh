#!/usr/bin/env bash
# Says how the stack is: every container, replica, endpoint, topic and group, Redis and all of monitoring.
#
# Usage: scripts/health-check.sh [OPTION]...
#
#   -e ENVIRONMENT     development or production (default: the one that runs, else development)
#   -v, --verbose      every row, also those that are well
#   --json             one JSON document with every row
#   --wait SECONDS     looks again until all is well, at most so long
#   --quiet            says only what is wrong, and nothing when all is well
#   --help             says this
#
# ok        well
# note      worth knowing and no fault: trading is halted, an alert fires
# follows   bad because of another row, which is named and counts
# degraded  bad; the system still does its work
# down      the system cannot do its work
#
# Exit status: 0 healthy, 1 degraded, 2 down, also without an engine, 3 wrong usage or settings. Runs on the bash 3.2 of
# macOS; needs Docker with Compose and our image crypto-bot-tools.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. scripts/lib/talk.sh
. scripts/lib/compose.sh

# shellcheck disable=SC2034 # read by wrong: 1 and 2 are verdicts
wrong_status=3
environment='' wait_s=0 json='' quiet='' options=''

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                usage
                exit 0
                ;;
            -v | --verbose) options="$options --verbose" ;;
            --json) json=--json ;;
            --quiet) quiet=--quiet ;;
            -e | --environment | --wait)
                [ -n "${2:-}" ] || wrong "$1 needs a value"
                case "$1" in
                    --wait) wait_s=$2 ;;
                    *) environment=$2 ;;
                esac
                shift
                ;;
            *) wrong "$1: no such option" ;;
        esac
        shift
    done
    case "$environment" in '' | development | production) ;; *) wrong "-e $environment: there are development and production" ;; esac
    case "$wait_s" in '' | *[!0-9]*) wrong "--wait $wait_s: a whole number of seconds is needed" ;; esac
}

# down REASON: what is said when nobody can be asked.
down() {
    if [ -n "$json" ]; then
        printf '{"verdict": "down", "environment": "%s", "rows": [{"group": "engine", "subject": "docker", "state": "down", "text": "%s"}]}\n' "$environment" "$1"
    else
        printf 'down      engine docker: %s\n' "$1"
    fi
    exit 2
}

# what_is_there: what should run and what does, a line each; no settings and no secrets of the containers.
what_is_there() {
    local ids format
    format='container {"labels":{{json .Config.Labels}},"state":{{json .State}},"restarts":{{.RestartCount}},"networks":{{json .NetworkSettings.Networks}}}'
    compose config --services | sed 's/^/service /'
    ids=$(project_containers '{{.ID}}')
    # A container may go between the two questions.
    # shellcheck disable=SC2086
    [ -z "$ids" ] || docker inspect --format "$format" $ids 2>/dev/null || true
}

# look: one look; leaves what there is to say in $said and gives its exit status.
look() {
    what_is_there >"$said.engine" 2>"$said.errors" || return 3
    # shellcheck disable=SC2086
    compose --progress quiet run --rm --no-deps -T operations python -m scripts.operations.health \
        --environment "$environment" $json $quiet $options <"$said.engine" >"$said" 2>"$said.errors"
}

parse "$@"
command -v docker >/dev/null || down "there is no docker: install Docker Engine with Compose"
docker info >/dev/null 2>&1 || down "no Docker engine answers: start it, or check that this user may use it"
[ -n "$environment" ] || environment=$(running_environment)
case "$environment" in '' | base) environment=development ;; esac
compose_files "$environment"
image=$(compose config --images operations | grep crypto-bot-tools)
docker image inspect "$image" >/dev/null 2>&1 || down "there is no image $image: make it with scripts/docker-build.sh"
said=$(mktemp)
trap 'rm -f "$said" "$said.engine" "$said.errors"' EXIT

status=0 told_s=0
while :; do
    look && status=0 || status=$?
    case $status in 0 | 1 | 2) ;; *) break ;; esac
    [ "$status" -ne 0 ] && [ "$SECONDS" -lt "$wait_s" ] || break
    if [ $((SECONDS - told_s)) -ge 10 ] && [ -z "$quiet" ]; then
        printf 'waiting for health, %d of %d s\n' "$SECONDS" "$wait_s" >&2
        told_s=$SECONDS
    fi
    sleep 2
done
cat "$said"
if [ "$status" -ne 0 ] && [ ! -s "$said" ]; then
    printf 'health-check: nobody could be asked: %s\n' "$(tail -n 5 "$said.errors")" >&2
    case $status in 1 | 2) status=2 ;; *) status=3 ;; esac
fi
exit "$status"
