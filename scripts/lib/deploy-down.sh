# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: down.

run_down() {
    refuse_other_environment
    audit 'down began'
    echo 'Stopping the order path, then the rest ...'
    stop_order_path
    change_stack down --remove-orphans
    audit 'down done'
    echo 'Down. Volumes stay: positions, halts, dashboards and metrics are there at the next up.'
}
