# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: halt, flatten and resume, by risk-manager, which writes them down before it answers.

run_control() {
    local why=$1 answer
    if [ -z "$why" ]; then
        [ "$command" != resume ] || wrong 'resume needs a reason, which is kept: scripts/deploy.sh resume "the feed is back"'
        why="by scripts/deploy.sh $command"
    fi
    [ "$command" != flatten ] || ask_on_terminal "Close the positions of ${pair:-all pairs}?"
    who=${who:-${SUDO_USER:-$(id -un)}}
    if [ -n "$dry_run" ]; then
        printf 'would send: %s of %s by %s, why: %s\n' "$command" "${pair:-portfolio}" "$who" "$why"
        return
    fi
    if answer=$(compose exec -T risk-manager-service python - "$command" --pair "${pair:-portfolio}" --who "$who" --why "$why" <scripts/operations/control.py); then
        audit "$command ${pair:-portfolio} by $who, why: $why"
        printf '%s\n' "$answer"
    else
        audit "$command ${pair:-portfolio} failed"
        fail "$command was not obeyed${answer:+: $answer}; without risk-manager's signals execution takes no new exposure anyway"
    fi
}
