# shellcheck shell=bash disable=SC2154
# Sourced after compose.sh and talk.sh: one change of the project's stack at a time on this machine.
#
#   work_alone WHAT   takes the lock until this script ends; fails where another one that still runs has it
#
# The lock is a symbolic link that names its owner: made in one step with all that others need to know, also on macOS, which has
# no flock. An owner is its process id and the time it started, so that a later process with the same id is another one. What a
# killed owner left behind is cleared, by one script at a time. DEPLOY_LOCK names another place.

LOCK=${DEPLOY_LOCK:-/tmp/$COMPOSE_PROJECT.deploying}

work_alone() {
    local owner
    [ -w "$(dirname "$LOCK")" ] && [ ! -e "$LOCK" ] || fail "the lock $LOCK cannot be made; name another place: DEPLOY_LOCK=FILE"
    until ln -sn "$$ $(started_at $$) | $1 by $(id -un) since $(date -u +%Y-%m-%dT%H:%M:%SZ)" "$LOCK" 2>/dev/null; do
        owner=$(readlink "$LOCK") || continue # its owner has just ended
        ! still_runs "$owner" || fail "${owner#*| } is at work on $COMPOSE_PROJECT (process ${owner%% *}); wait for it, then run this again"
        clear_stale "$owner"
    done
    trap 'rm -f "$LOCK"' EXIT
}

# started_at PID: when a process started; nothing where there is none.
started_at() { LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' | sed 's/^ //;s/ $//'; }

# still_runs OWNER: whether it is the process that made the lock, whoever's it is.
still_runs() {
    local pid_and_start=${1%% |*}
    command -v ps >/dev/null || return 0
    [ "$pid_and_start" = "${1%% *} $(started_at "${1%% *}")" ]
}

# clear_stale OWNER: removes what a killed owner left, unless somebody else is doing so.
clear_stale() {
    mkdir "$LOCK.clearing" 2>/dev/null || fail "another script is clearing the lock $LOCK; run this again, and if that does not help: rmdir $LOCK.clearing"
    if [ "$(readlink "$LOCK")" = "$1" ]; then
        rm -f "$LOCK" || { rmdir "$LOCK.clearing" && fail "${1#*| } was killed and left $LOCK, which $(id -un) may not remove; its owner can: rm $LOCK"; }
        printf '%s: %s was killed in the midst of it; its lock is cleared\n' "$program" "${1#*| }" >&2
    fi
    rmdir "$LOCK.clearing"
}
