#!/usr/bin/env bash
# Deploys the system with Docker Compose and operates it: checks first, changes what has changed, waits for health, rolls back.
#
# Usage: scripts/deploy.sh [-e development|production] COMMAND [OPTION]... [ARGUMENT]...      options may stand anywhere
#
#   up                     checks everything, builds missing images, starts what is new or changed, waits until all is healthy
#   down                   stops and removes the containers; volumes, and so positions, halts and dashboards, stay
#   restart [SERVICE]...   restarts containers as they are; settings and images that changed take `up`
#   status                 containers, open positions, halts, the last deployments
#   logs [SERVICE]...      the last lines of the logs, all services' without a name; see --level, --since, --tail, --json and -f
#   trace ID [OPTION]...   one tick's way through all services, by the trace_id of a decision, order or log line; its options after --
#   build [OPTION]...      scripts/docker-build.sh; its options after --
#   backup                 scripts/backup.sh create: what must last, while everything runs; its options after --
#   restore ARCHIVE        scripts/backup.sh restore: puts an archive in the place of what is there
#   halt [REASON]          no new exposure until resumed; positions may be reduced
#   flatten [REASON]       close positions and stay out until resumed
#   resume REASON          lift the halts
#   config [OPTION]...     what Compose makes of the files; its options after --
#
#   -e, --environment E    development (default) or production; what only looks, saves or halts finds out by itself
#   --scale SERVICE=N      N replicas; may be repeated: kalman-filter-service, garch-volatility-service, execution-service (stands by)
#   --kafka-mode MODE      kraft, zookeeper or cluster (three brokers); default: the one that runs here, else kraft
#   --pair PAIR            halt, flatten, resume: this pair alone (default: the portfolio); logs, trace: what is about this pair
#   --level LEVEL          logs: lines of at least DEBUG, INFO, WARNING, ERROR or CRITICAL
#   --since DURATION       logs: lines not older than, for example, 90s, 10m or 1h30m
#   --tail N               logs: the last N lines, or all (default 100; all of those that --level, --pair or --since choose)
#   --json                 logs: lines as their services wrote them, without time and container before them; trace: one document
#   -f, --follow           logs: goes on with what comes, until Ctrl-C
#   --who NAME             halt, flatten, resume: in whose name (default: this user's)
#   --timeout SECONDS      longest wait for health, then a roll-back (default 300)
#   --dry-run              says what would be done, does nothing
#   -y, --yes              asks nothing; needed without a terminal where an account changes or data may be lost
#   -h, --help             says this
#
# Every deployment is written to var/deploy.log (or DEPLOY_LOG). While one is at work another one is refused, by the lock
# /tmp/crypto-bot.deploying (or DEPLOY_LOCK). Exit status: 0 done, 1 failed or refused, 2 wrong usage. Runs on the bash 3.2 of
# macOS; needs Docker with Compose 2.24 or later, and nothing else.
set -euo pipefail
called_from=$PWD
CDPATH='' cd "$(dirname "$0")/.."
. scripts/lib/talk.sh
. scripts/lib/compose.sh
. scripts/lib/alone.sh
. scripts/lib/deploy-talk.sh
. scripts/lib/deploy-audit.sh
. scripts/lib/deploy-preflight.sh
. scripts/lib/deploy-plan.sh
. scripts/lib/deploy-wait.sh
. scripts/lib/deploy-images.sh
. scripts/lib/deploy-up.sh
. scripts/lib/deploy-down.sh
. scripts/lib/deploy-restart.sh
. scripts/lib/deploy-look.sh
. scripts/lib/deploy-logs.sh
. scripts/lib/deploy-control.sh

environment='' command='' scale='' kafka_mode='' pair='' who='' timeout_s=300 dry_run='' assume_yes='' follow='' tail='' level='' since='' as_json=''

# set_value OPTION VALUE: one of the options that have a value.
set_value() {
    case "$1" in
        -e | --environment) environment=$2 ;;
        --scale) add_scale "$2" ;;
        --kafka-mode) kafka_mode=$2 ;;
        --pair) pair=$2 ;;
        --who) who=$2 ;;
        --tail) tail=$2 ;;
        --level) level=$2 ;;
        --since) since=$2 ;;
        --timeout)
            case "$2" in *[!0-9]* | '') wrong "--timeout $2: say whole seconds, for example 300" ;; esac
            timeout_s=$2
            ;;
    esac
}

# add_scale SERVICE=N: only what may have replicas, and at least one.
add_scale() {
    case "${1#*=}" in *[!0-9]* | '' | 0 | "$1") wrong "--scale $1: say SERVICE=N with N of 1 or more, for example kalman-filter-service=3" ;; esac
    case "${1%%=*}" in
        kalman-filter-service | garch-volatility-service | execution-service) scale="$scale --scale $1" ;;
        *) wrong "--scale $1: only kalman-filter-service, garch-volatility-service and execution-service may have replicas" ;;
    esac
}

# parse WORD...: notes the options wherever they stand, and does the command with what is left.
parse() {
    local left=$#
    while [ $left -gt 0 ]; do
        left=$((left - 1))
        case "$1" in
            -h | --help)
                usage
                exit 0
                ;;
            -y | --yes) assume_yes=yes ;;
            --dry-run) dry_run=yes ;;
            -f | --follow) follow=--follow ;;
            --json) as_json=--json ;;
            -e | --environment | --scale | --kafka-mode | --pair | --who | --tail | --level | --since | --timeout)
                [ $left -gt 0 ] && [ -n "$2" ] || wrong "$1 needs a value"
                set_value "$1" "$2"
                left=$((left - 1))
                shift
                ;;
            --environment=* | --scale=* | --kafka-mode=* | --pair=* | --who=* | --tail=* | --level=* | --since=* | --timeout=*) set_value "${1%%=*}" "${1#*=}" ;;
            --)
                while [ $left -gt 0 ]; do
                    left=$((left - 1))
                    set -- "$@" "$2"
                    shift
                done
                ;;
            -*) wrong "$1: no such option" ;;
            *) if [ -z "$command" ]; then command=$1; else set -- "$@" "$1"; fi ;;
        esac
        shift
    done
    check_usage "$@"
    choose_files
    run_command "$@"
}

# choose_files: the files of the environment; what only looks or obeys an operator takes the one that runs here.
choose_files() {
    case "$command" in
        logs | trace | status | backup | halt | resume | flatten) [ -n "$environment" ] || environment=$(running_environment) ;;
    esac
    environment=${environment:-development}
    compose_files "$environment" "$kafka_mode" || exit 2
}

check_usage() {
    case "$command" in
        '') wrong 'say what to do: up, down, restart, status, logs, trace, build, backup, restore, halt, resume, flatten or config' ;;
        up | down | status) [ $# = 0 ] || wrong "$command takes no arguments, and there is $1" ;;
        trace) [ $# -gt 0 ] || wrong 'trace needs an id, as log lines and execution-service tell it: trace_id' ;;
        restart | logs | build | backup | restore | halt | resume | flatten | config) ;;
        *) wrong "$command: no such command" ;;
    esac
    [ "$command" = up ] || [ -z "$scale" ] || wrong "--scale goes with up"
    if [ "$command" = logs ]; then
        check_logs
    else
        [ -z "$level$since$tail$follow" ] || wrong "--level, --since, --tail and --follow go with logs"
        [ -z "$as_json" ] || [ "$command" = trace ] || wrong "--json goes with logs and trace"
    fi
    [ "$environment" != base ] || wrong "base: no such environment; there are: development, production"
}

run_command() {
    case "$command$dry_run" in up | down | restart) work_alone "$command" ;; esac
    case "$command" in
        up) run_up ;;
        down) run_down ;;
        restart) run_restart "$@" ;;
        status) run_status ;;
        logs) run_logs "$@" ;;
        trace) run_trace "$@" ;;
        build) change scripts/docker-build.sh "$@" ;;
        backup | restore) run_backup "$@" ;;
        halt | resume | flatten) run_control "$*" ;;
        config) compose config "$@" ;;
    esac
}

parse "$@"
