# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: up.

ORDER_PATH='execution-service risk-manager-service'

# preflight: everything that stands in the way, told at once; and what would change.
preflight() {
    check_host
    if [ -n "$engine_answers$dry_run" ] && [ -n "$config" ]; then
        case " $(missing_images | tr '\n' ' ') " in
            *' tools '*) if [ "$problem_count" -eq 0 ] && [ -z "$dry_run" ]; then have_images tools; fi ;;
        esac
        if tools_are_there; then judge_plan; else echo 'Settings are judged once the image crypto-bot-tools is built.'; fi
    fi
    tell_problems
}

tools_are_there() {
    case " $(missing_images | tr '\n' ' ') " in *' tools '*) return 1 ;; esac
}

run_up() {
    local began=$SECONDS
    preflight
    show_plan
    agree
    audit "up began$scale, kafka $KAFKA_MODE, images ${IMAGE_REGISTRY:+$IMAGE_REGISTRY/}${IMAGE_TAG:-latest}"
    # shellcheck disable=SC2046 # a word each
    have_images $(missing_images)
    keep_images
    if [ -n "$plan_order_path" ]; then stop_order_path; fi
    start_all || roll_back 'it could not be started'
    [ -n "$dry_run" ] || await_health "$timeout_s" || roll_back "not healthy after $timeout_s s"
    audit "up done after $((SECONDS - began)) s"
    if [ -n "$dry_run" ]; then
        echo 'Nothing was changed.'
    else
        printf '%s is up.\n%s' "$environment" "$plan_urls"
    fi
}

# stop_order_path: no order is sent while what they rest on changes.
stop_order_path() {
    local service
    warn_of_positions
    for service in $ORDER_PATH; do change_stack stop "$service" || true; done
}

# start_all: the order path last. Compose takes a scale only for what it is told to start.
start_all() {
    local others scale_of_others
    others=$(compose config --services | grep -vx -e execution-service -e risk-manager-service)
    scale_of_others=$(printf '%s' "$scale" | sed 's/ --scale execution-service=[0-9]*//g')
    echo 'Starting what trading rests on ...'
    # shellcheck disable=SC2086 # a word each
    change_stack up --detach --no-build --remove-orphans $scale_of_others $others || return 1
    echo 'Starting risk and execution ...'
    # shellcheck disable=SC2086
    change_stack up --detach --no-build risk-manager-service && change_stack up --detach --no-build $scale
}
