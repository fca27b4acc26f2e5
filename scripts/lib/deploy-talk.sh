# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: what it says, what it asks, and what it only pretends to do with --dry-run.

# change COMMAND...: does it; with --dry-run says so instead.
change() {
    if [ -n "$dry_run" ]; then
        printf 'would run: %s\n' "$*"
    else
        "$@"
    fi
}

# change_stack ARGS...: the same for Compose; off a terminal it says only what went wrong.
change_stack() {
    if [ -n "$dry_run" ]; then
        printf 'would run: docker compose %s\n' "$*"
    elif [ -t 2 ]; then
        compose "$@"
    else
        compose --progress quiet "$@"
    fi
}

# ask QUESTION: whether to go on; --yes and --dry-run answer it.
ask() {
    local answer
    [ -z "$assume_yes$dry_run" ] || return 0
    printf '%s [y/N] ' "$1"
    read -r answer || answer=''
    case "$answer" in y | Y | yes) ;; *) fail 'nothing was done' ;; esac
}

# ask_on_terminal QUESTION: asks where somebody can answer, else goes on.
ask_on_terminal() {
    if [ -t 0 ]; then ask "$1"; fi
}

# ask_or_refuse QUESTION REASON: asks where somebody can answer, else --yes is needed.
ask_or_refuse() {
    [ -t 0 ] || [ -n "$assume_yes$dry_run" ] || fail "$2; there is no terminal to ask at: add --yes if that is meant"
    ask "$1"
}
