#!/usr/bin/env bash
# Backs up what must last, while everything runs, and restores it, also on another machine.
#
# Usage: scripts/backup.sh [OPTION]... [create]            makes an archive and says its name
#        scripts/backup.sh [OPTION]... verify ARCHIVE      compares every file in it with its hash
#        scripts/backup.sh [OPTION]... restore ARCHIVE     stops the stack and puts the archive in the place of what is there
#        scripts/backup.sh [OPTION]... list                the archives that there are
#
#   -e ENVIRONMENT     development or production (default: the one that runs, else development)
#   --kafka-mode MODE  kraft, zookeeper or cluster: what a restored ledger is fitted to (default: the one that runs, else kraft)
#   --directory DIR    folder of the archives (default: backups)
#   --keep COUNT       how many archives of the environment are kept there, the newest ones (default: 7)
#   --no-metrics       leaves Prometheus out, which may be large
#   --yes              restores without asking
#   --help             says this
#
# An archive holds the trading database and the risk database, each copied online and checked, Grafana, Prometheus, and the env file
# without its secrets; a manifest has the hash of every file. It does not hold Kafka: after a restore with the same broker
# trading goes on where the ledger stood, with a new one in a new market session. Restored databases leave what they replace
# beside them in their volume.
#
# Exit status: 0 done, 1 failed, 2 wrong usage. Runs on the bash 3.2 of macOS; needs Docker with Compose and our image
# crypto-bot-tools. After a restore scripts/deploy.sh up starts the stack.
set -euo pipefail
called_from=$PWD
CDPATH='' cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. scripts/lib/talk.sh
. scripts/lib/compose.sh
. scripts/lib/alone.sh

environment='' kafka_mode='' directory=backups keep=7 metrics=yes yes='' command='' archive=''

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                usage
                exit 0
                ;;
            --no-metrics) metrics='' ;;
            --yes) yes=yes ;;
            -e | --environment | --kafka-mode | --directory | --keep)
                [ -n "${2:-}" ] || wrong "$1 needs a value"
                case "$1" in
                    --kafka-mode) kafka_mode=$2 ;;
                    --directory) directory=$2 ;;
                    --keep) keep=$2 ;;
                    *) environment=$2 ;;
                esac
                shift
                ;;
            -*) wrong "$1: no such option" ;;
            *)
                if [ -z "$command" ]; then command=$1; elif [ -z "$archive" ]; then archive=$1; else wrong "$1: one archive at a time"; fi
                ;;
        esac
        shift
    done
    case "$directory" in backups) directory=$PWD/backups ;; /*) ;; *) directory=$called_from/$directory ;; esac
    case "$archive" in '' | /*) ;; *) archive=$called_from/$archive ;; esac
    case "$environment" in '' | development | production) ;; *) wrong "-e $environment: there are development and production" ;; esac
    case "$keep" in '' | 0 | *[!0-9]*) wrong "--keep $keep: a whole number of at least 1 is needed" ;; esac
    case "${command:=create}" in
        create | list) [ -z "$archive" ] || wrong "$command takes no archive" ;;
        verify | restore)
            [ -n "$archive" ] || wrong "$command needs an archive; list shows those that there are"
            [ -f "$archive" ] || wrong "$archive: there is no such archive; list shows those that there are"
            ;;
        *) wrong "$command: there are create, verify, restore and list" ;;
    esac
}

# work PART ARGUMENT...: the work on a part, in a container of the volume's owner.
work() {
    local owner=10001:10001
    case "$1" in grafana) owner=472:0 ;; prometheus) owner=65534:65534 ;; esac
    shift
    compose --progress quiet run --rm --no-deps -T --user "$owner" backup python -m scripts.operations.backup "$@" --environment "$environment"
}

# archives: those of the environment, oldest first; their names sort by time.
archives() { find "$directory" -maxdepth 1 -name "crypto-bot-$environment-*.tar.gz" 2>/dev/null | sort; }

# save PART [ARGUMENT]...: puts a part into the archive in the making.
save() {
    printf '%-14s' "$1" >&2
    work "$1" save "$@" | tar -xf - -C "$making/parts" || fail "$1 could not be backed up (see above)"
    printf 'done\n' >&2
}

create() {
    local name file
    mkdir -p "$directory"
    mkdir "$directory/.making" 2>/dev/null || fail "another backup is in the making; if none is, remove $directory/.making"
    making=$directory/.making
    trap 'rm -rf "$making"' EXIT
    umask 077
    mkdir "$making/parts"
    name=crypto-bot-$environment-$(date -u +%Y%m%dT%H%M%SZ).tar.gz
    # The database that decides comes last, so that a halt given meanwhile is in it.
    save execution </dev/null
    save risk-manager </dev/null
    save grafana </dev/null
    [ -z "$metrics" ] || save prometheus </dev/null
    case "$environment" in production) file=.env.prod ;; *) file=.env.dev ;; esac
    [ ! -f "$file" ] || save settings --name "${file#.}" <"$file"
    tar -czf "$making/$name" -C "$making/parts" .
    work all verify <"$making/$name" || fail 'the archive is not what was read; look at the free disk and try again'
    mv "$making/$name" "$directory/$name"
    printf '%s\n' "$directory/$name"
    forget
}

# forget: removes the oldest archives of the environment until as many as may be kept are left.
forget() {
    local count
    count=$(archives | wc -l)
    archives | while read -r old; do
        [ "$count" -gt "$keep" ] || break
        rm -f "$old"
        printf 'removed %s, %d are kept\n' "$old" "$keep" >&2
        count=$((count - 1))
    done
}

confirm() {
    local there answer
    there=$(work all there </dev/null) || fail 'the volumes could not be looked at (see above)'
    [ -n "$there" ] || return 0
    printf 'This stops the stack and replaces, for %s: %s, Grafana and Prometheus.\n' "$environment" "$(printf '%s' "$there" | tr '\n' ' ')" >&2
    [ -z "$yes" ] || return 0
    [ -t 0 ] || fail "something is there that would be replaced: say --yes"
    printf 'Type yes to go on: ' >&2
    read -r answer || answer=''
    [ "$answer" = yes ] || fail 'nothing was changed'
}

restore() {
    local part
    work all verify <"$archive" || fail "$archive is not restored; nothing was changed"
    confirm
    work_alone restore
    # The order path first, so that nothing is decided on what goes away.
    compose stop execution-service >/dev/null 2>&1 || true
    compose down >/dev/null 2>&1 || fail 'the stack could not be stopped; see docker compose ps'
    for part in execution risk-manager grafana prometheus; do
        work "$part" load "$part" <"$archive" || fail "$part could not be restored; what came before it is; mend that and restore again"
    done
    compose up --detach --wait --wait-timeout 180 kafka >/dev/null 2>&1 || fail 'Kafka does not start, so the ledger could not be compared with it; see its log'
    tools python -m common.topics apply >/dev/null || fail 'the topics could not be made (see above)'
    work all fit </dev/null || fail 'the restored ledger does not go with this broker (see above)'
    compose down >/dev/null 2>&1 || true
    [ "$KAFKA_MODE" = kraft ] || environment="$environment --kafka-mode $KAFKA_MODE"
    printf 'restored; start it with: scripts/deploy.sh -e %s up\n' "$environment"
}

parse "$@"
command -v docker >/dev/null || fail 'there is no docker: install Docker Engine with Compose'
docker info >/dev/null 2>&1 || fail 'no Docker engine answers: start it, or check that this user may use it'
[ -n "$environment" ] || environment=$(running_environment)
case "$environment" in '' | base) environment=development ;; esac
compose_files "$environment" "$kafka_mode" || exit 2
case "$command" in
    create) create ;;
    verify) work all verify <"$archive" ;;
    restore) restore ;;
    list) archives ;;
esac
