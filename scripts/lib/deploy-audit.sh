# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: one line for every deployment and command of an operator, begun and ended.

# audit WORDS...: who did what, when, with which code; to a file that only its owner reads.
audit() {
    [ -z "$dry_run" ] || return 0
    local log=${DEPLOY_LOG:-var/deploy.log} revision
    revision=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
    (
        umask 077
        mkdir -p "$(dirname "$log")"
        printf '%s %s@%s %s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${SUDO_USER:-$(id -un)}" "$(uname -n)" "$revision" "$environment" "$*" >>"$log"
    ) || fail "the audit log $log cannot be written; make it writable, or name another: DEPLOY_LOG=FILE"
}

# last_deployments: the newest lines.
last_deployments() { tail -n 5 "${DEPLOY_LOG:-var/deploy.log}" 2>/dev/null || true; }
