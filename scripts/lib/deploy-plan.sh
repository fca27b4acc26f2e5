# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: has the tools image judge settings and secrets, and say what a deployment would change.

# What the judging said: lines to show, whether the order path has to stop first, images to go back to.
# shellcheck disable=SC2034 # read by the commands
plan_changes='' plan_order_path='' plan_account='' plan_urls='' plan_previous=''
SEPARATOR=$(printf '\037')

# facts: what is judged, in sections; secrets go through the pipe alone.
facts() {
    local file
    printf '%s\n' '## config' "$config" '## hashes'
    compose config --hash '*' 2>/dev/null || true
    printf '%s\n' '## images'
    docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
    printf '%s\n' '## containers'
    containers_as_json
    for file in $(values_of file); do
        [ ! -r "$file" ] || printf '## secret %s\n%s\n' "${file##*/}" "$(cat "$file")"
    done
}

containers_as_json() {
    local found
    found=$(project_containers '{{.ID}}')
    # shellcheck disable=SC2086 # one word each
    [ -z "$found" ] || docker inspect --format '{"labels": {{json .Config.Labels}}, "image": {{json .Image}}, "state": {{json .State.Status}}, "environment": {{json .Config.Env}}}' $found
}

# judge_plan: asks the tools image; each line of its answer is a kind and its fields.
judge_plan() {
    local said kind first second third
    # shellcheck disable=SC2086 # several words
    said=$(facts | judge python -m scripts.operations.deployment --environment "$environment" --host-time "$(date +%s)" $scale) ||
        fail "the image crypto-bot-tools could not judge this deployment (see above); build it anew: scripts/deploy.sh build -- --service tools"
    while IFS=$SEPARATOR read -r kind first second third; do
        case "$kind" in
            problem) problem "$first" "$second" "$third" ;;
            warning) warning "$first" "$second" "$third" ;;
            change) plan_changes="$plan_changes$(printf '  %-10s %s' "$first" "$second")
" ;;
            order-path) plan_order_path=yes ;;
            account) plan_account="$plan_account$first; " ;;
            previous) plan_previous="$plan_previous $first=$second" ;;
            url) plan_urls="$plan_urls$(printf '  %-22s %s' "$first" "$second")
" ;;
        esac
    done <<<"$said"
}

# show_plan: what would change.
show_plan() {
    if [ -z "$plan_changes" ]; then
        echo "Nothing changes: $environment runs as it is meant to."
    else
        printf 'Changes in %s:\n%s' "$environment" "$plan_changes"
    fi
}

# agree: asks where something is at stake.
agree() {
    if [ -n "$plan_account" ]; then
        ask_or_refuse "The account changes (${plan_account%; }). Go on?" "the account changes (${plan_account%; })"
    elif [ "$environment" = production ] && [ -n "$plan_changes" ]; then
        ask_on_terminal 'Deploy to production?'
    fi
}
