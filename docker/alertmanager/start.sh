#!/bin/sh
# Starts Alertmanager with the receivers that have a secret; --render prints the configuration instead.
#
# Between `# begin NAME` and `# end NAME` the configuration holds what needs the secret NAME. It stays where the file
# /run/secrets/NAME is there and says anything but `off`; without any secret alerts are kept and shown on the page. Addresses are
# filled in from the environment, for Alertmanager reads none; the secrets themselves stay in their files.
set -eu
configuration=${ALERTMANAGER_CONFIGURATION:-/etc/alertmanager}
secrets=${ALERTMANAGER_SECRETS:-/run/secrets}

# wanted SECRET: is there, and not turned off.
wanted() { [ -e "$secrets/$1" ] && [ "$(cat "$secrets/$1")" != off ]; }

# fill_in NAME VALUE: an address for what stands in braces.
fill_in() {
    case $2 in
        '') echo "alertmanager: $1 is empty: name it, or write off into the secret smtp_password" >&2 && exit 2 ;;
        *[!A-Za-z0-9@.,:_+-]*) echo "alertmanager: $1: '$2' has a character that no address has" >&2 && exit 2 ;;
    esac
    edits="$edits;s|{$1}|$2|"
}

render() {
    edits="s|/etc/alertmanager|$configuration|;s|/run/secrets|$secrets|"
    for name in slack_webhook_url smtp_password pagerduty_routing_key heartbeat_url; do
        if wanted "$name"; then
            edits="$edits;/# begin $name\$/d;/# end $name\$/d"
        else
            edits="$edits;/# begin $name\$/,/# end $name\$/d"
        fi
    done
    if wanted smtp_password; then
        fill_in ALERT_EMAIL_TO "${ALERT_EMAIL_TO:-}"
        fill_in ALERT_EMAIL_FROM "${ALERT_EMAIL_FROM:-}"
        fill_in SMTP_SERVER "${SMTP_SERVER:-}"
        fill_in SMTP_USER "${SMTP_USER:-}"
    fi
    sed "$edits" "$configuration/alertmanager.yml"
}

if [ "${1:-}" = --render ]; then
    render
    exit
fi
umask 077
render >/tmp/alertmanager.yml
exec alertmanager --config.file=/tmp/alertmanager.yml "$@"
