# shellcheck shell=bash disable=SC2034
# Sourced after talk.sh: the images that are ours.
#
#   IMAGES            their names, without crypto-bot- before them
#   image_name NAME   an image by its own name or its service's

IMAGES='ingestion kalman-filter garch-volatility execution risk-manager exchange-simulator streamlit tools gateway'

image_name() {
    case " $IMAGES " in
        *" ${1%-service} "*) printf '%s' "${1%-service}" ;;
        *) wrong "--service $1: there is no such image; there are: $IMAGES" ;;
    esac
}
