# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: status, and the scripts that it hands on to.

run_status() {
    local running
    running=$(running_environment)
    if [ -z "$running" ]; then
        echo 'Nothing runs here.'
    else
        printf 'Environment: %s\n' "$running"
        printf '%-26s %-30s %s\n' SERVICE STATUS IMAGE
        project_containers '{{.Label "com.docker.compose.service"}}|{{.Status}}|{{.Image}}' | sort |
            awk -F '|' '{printf "%-26s %-30s %s\n", $1, $2, $3}'
        echo 'Positions:'
        inside execution-service scripts/operations/positions.py --flat || echo '  execution-service does not answer'
        echo 'Risk:'
        inside risk-manager-service scripts/operations/control.py state || echo '  risk-manager-service does not answer'
    fi
    if [ -n "$(last_deployments)" ]; then printf 'Last deployments:\n%s\n' "$(last_deployments | sed 's/^/  /')"; fi
    [ -n "$running" ] || return 1
}

# inside SERVICE PROGRAM ARGUMENT...: a program of ours on the Python of a service's container, which alone reaches what it asks.
inside() {
    local service=$1 program=$2
    shift 2
    compose exec -T "$service" python - "$@" <"$program" 2>/dev/null
}

# warn_of_positions: those that stay open while nobody watches them.
warn_of_positions() {
    local open
    open=$(inside execution-service scripts/operations/positions.py || true)
    if [ -n "$open" ]; then printf 'Warning: open positions, which nobody watches until execution is back:\n%s\n' "$open" >&2; fi
}

# run_backup ARGUMENT...: paths among them are meant from where the user stands.
run_backup() {
    [ -x scripts/backup.sh ] || fail 'scripts/backup.sh is not there'
    if [ "$command" = restore ]; then
        refuse_other_environment
        [ $# -gt 0 ] || wrong 'restore needs an archive; there are: scripts/backup.sh list'
        ask_or_refuse "Put the archive in the place of what $environment has now?" 'restore replaces what is there'
        set -- --yes "$@"
    fi
    audit "$command $*"
    set -- "$PWD/scripts/backup.sh" -e "${environment/base/development}" --kafka-mode "$KAFKA_MODE" "${command/backup/create}" "$@"
    cd "$called_from" || exit 1
    change "$@"
}

# refuse_other_environment: ends where the other environment runs.
refuse_other_environment() {
    local running
    running=$(running_environment)
    case "$running $environment" in
        'production development' | 'development production' | 'base production') fail "${running/base/development} runs here, not $environment: say scripts/deploy.sh -e ${running/base/development} $command" ;;
    esac
}
