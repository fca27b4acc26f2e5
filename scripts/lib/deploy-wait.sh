# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: waits until everything is healthy, and says what it is waiting for.

# unready: services that are not healthy yet, or not running.
unready() {
    local found
    found=$(project_containers '{{.Label "com.docker.compose.service"}}|{{.Status}}')
    [ -n "$found" ] || found='containers|Created'
    printf '%s\n' "$found" | while IFS='|' read -r name status; do
        case "$name $status" in
            'topics Exited (0)'* | *' Up '*'(healthy)') ;;
            *' Up '*'('* | *' Created'* | *' Exited'* | *' Restarting'* | *' Dead'*) printf '%s\n' "$name" ;;
        esac
    done | sort -u | tr '\n' ' '
}

# await_containers SECONDS: every container's own health check; says what is missing whenever that changes.
await_containers() {
    local began=$SECONDS waiting said=''
    while
        waiting=$(unready)
        [ -n "$waiting" ]
    do
        [ $((SECONDS - began)) -lt "$1" ] || {
            show_words_of "$waiting"
            return 1
        }
        if [ "$waiting" != "$said" ]; then printf '  %4d s  waiting for %s\n' $((SECONDS - began)) "$waiting"; fi
        said=$waiting
        sleep 1
    done
    printf '  %4d s  all containers are healthy\n' $((SECONDS - began))
}

# await_health SECONDS: the containers', then what only the health check sees: topics, lag, targets.
await_health() {
    local began=$SECONDS status=0 left
    await_containers "$1" || return 1
    [ -x scripts/health-check.sh ] || return 0
    left=$(($1 - SECONDS + began))
    scripts/health-check.sh --wait $((left > 60 ? 60 : left > 0 ? left : 0)) --quiet || status=$?
    case $status in
        0) ;;
        2) return 1 ;;
        *) echo '  degraded: scripts/health-check.sh -v says what' ;;
    esac
}

# show_words_of SERVICES: the last lines of those that did not come up.
show_words_of() {
    local service
    for service in $1; do
        printf '  %s is not healthy; its last words:\n' "$service" >&2
        compose logs --no-color --no-log-prefix --tail 4 "$service" 2>&1 | sed 's/^/    /' >&2
    done
}
