# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: restart.

# run_restart [SERVICE]...: named ones as they are; all of them with the order path down first and up last.
run_restart() {
    local others
    refuse_other_environment
    audit "restart began $*"
    if [ $# -gt 0 ]; then
        case " $* " in *' execution-service '* | *' risk-manager-service '*) warn_of_positions ;; esac
        change_stack restart "$@"
    else
        others=$(compose config --services | grep -vx -e execution-service -e risk-manager-service)
        stop_order_path
        # shellcheck disable=SC2086 # a word each
        change_stack restart $others
        change_stack start risk-manager-service
        change_stack start execution-service
    fi
    [ -n "$dry_run" ] || await_health "$timeout_s" || {
        audit 'restart failed'
        fail "not healthy after $timeout_s s; look: scripts/deploy.sh -e $environment logs"
    }
    audit 'restart done'
}
