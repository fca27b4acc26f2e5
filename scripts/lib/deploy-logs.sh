# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: the containers' logs and the traces in Kafka, chosen and made readable by the tools image.

# check_logs: ends with wrong usage unless level, pair, duration and number of lines are such.
check_logs() {
    level=$(printf '%s' "$level" | tr '[:lower:]' '[:upper:]')
    case "$level" in
        '' | DEBUG | INFO | WARNING | ERROR | CRITICAL) ;;
        *) wrong "--level $level: no such level; say DEBUG, INFO, WARNING, ERROR or CRITICAL" ;;
    esac
    [[ -z "$pair" || "$pair" =~ ^[A-Z0-9]+-[A-Z0-9]+$ ]] || wrong "--pair $pair: no pair; say it as in PAIRS, for example ETHUSDT-BTCUSDT"
    [[ -z "$since" || "$since" =~ ^([0-9]+[smh])+$ ]] || wrong "--since $since: no duration; say for example 90s, 10m or 1h30m"
    [[ -z "$tail" || "$tail" = all || "$tail" =~ ^[0-9]+$ ]] || wrong "--tail $tail: say how many lines, or all"
}

# tools_image_is_here: whether the engine has it; a stack that was put up by plain Compose may run without.
tools_image_is_here() {
    local image
    image=$(compose --profile tools config --images tools | grep crypto-bot-tools | head -n 1) || return 1
    docker image inspect "$image" >/dev/null 2>&1
}

# run_logs SERVICE...: what is chosen among all lines is counted after the choice; while it follows, before it.
run_logs() {
    local read_tail=${tail:-100} shown_tail=all
    if [ -n "$level$pair$since" ]; then
        [ -n "$follow$tail" ] || read_tail=all
        if [ -z "$follow" ]; then read_tail=all shown_tail=${tail:-all}; fi
    fi
    if ! tools_image_is_here; then
        [ -z "$level$pair$as_json" ] || fail 'choosing lines needs the image crypto-bot-tools: scripts/deploy.sh build -- --service tools'
        compose logs --tail "$read_tail" ${since:+--since "$since"} ${follow:+"$follow"} "$@"
        return
    fi
    compose logs --no-color --timestamps --tail "$read_tail" ${since:+--since "$since"} ${follow:+"$follow"} "$@" |
        judge python -m scripts.operations.logs --tail "$shown_tail" ${level:+--level "$level"} ${pair:+--pair "$pair"} ${as_json:+"$as_json"} \
            ${follow:+"$follow"}
}

# run_trace ID OPTION...: reads the stack's own broker; exit status 1 when there is no such trace, 2 for what is none.
run_trace() { tools python -m scripts.trace ${pair:+--pair "$pair"} ${as_json:+"$as_json"} "$@"; }
