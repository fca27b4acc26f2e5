# shellcheck shell=bash
# Sourced from the repository's root: the Compose files of an environment, Compose under its name here, programs of the tools image.
#
#   compose_files ENVIRONMENT [MODE]   chooses the files for `compose`: base, development or production; MODE of Kafka: kraft, zookeeper or
#                                      cluster, by default the one that runs here, else kraft
#   compose ARGS...                    docker compose (or docker-compose) with those files and the project's name
#   running_environment                which of the three runs here now; nothing when none does
#   running_kafka_mode                 the same for the mode of Kafka
#   project_containers FORMAT          the project's containers, also stopped ones, each by `docker ps --format`
#   judge ARGS...                      runs a command in the tools image, shut off from every network: standard input to output
#   tools ARGS...                      the same, in the stack's network and with its settings and secrets
#
# COMPOSE_PROJECT_NAME replaces the project's name, crypto-bot.

COMPOSE_PROJECT=${COMPOSE_PROJECT_NAME:-crypto-bot}
COMPOSE_FILES=''
COMPOSE_WORD=''
# The mode that was chosen, for whoever has to tell it.
# shellcheck disable=SC2034
KAFKA_MODE=kraft

compose_files() {
    local mode=${2:-}
    case "$1" in
        base) COMPOSE_FILES=docker-compose.yml ;;
        development) COMPOSE_FILES='docker-compose.yml docker-compose.dev.yml' ;;
        production) COMPOSE_FILES='docker-compose.yml docker-compose.prod.yml' ;;
        *)
            printf '%s: no such environment; there are: development, production\n' "$1" >&2
            return 2
            ;;
    esac
    [ -n "$mode" ] || mode=$(running_kafka_mode)
    KAFKA_MODE=${mode:-kraft}
    case "$KAFKA_MODE" in
        kraft) ;;
        zookeeper | cluster)
            COMPOSE_FILES="$COMPOSE_FILES docker/compose.$KAFKA_MODE.yml"
            [ "$1" != production ] || COMPOSE_FILES="$COMPOSE_FILES docker/compose.$KAFKA_MODE.prod.yml"
            ;;
        *)
            printf '%s: no such mode of Kafka; there are: kraft, zookeeper, cluster\n' "$KAFKA_MODE" >&2
            return 2
            ;;
    esac
}

# compose_word: finds the name that Compose has here; fails when there is none.
compose_word() {
    [ -z "$COMPOSE_WORD" ] || return 0
    if docker compose version >/dev/null 2>&1; then
        COMPOSE_WORD='docker compose'
    elif docker-compose version >/dev/null 2>&1; then
        COMPOSE_WORD='docker-compose'
    else
        printf 'there is no Docker Compose; install the plugin docker-compose-plugin, 2.24 or later\n' >&2
        return 1
    fi
}

compose() {
    compose_word || return 1
    local file options="--project-name $COMPOSE_PROJECT"
    for file in ${COMPOSE_FILES:-docker-compose.yml}; do options="$options -f $file"; done
    # Neither the word nor the options hold a space within themselves.
    # shellcheck disable=SC2086
    $COMPOSE_WORD $options "$@"
}

project_containers() {
    docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT" --filter label=com.docker.compose.oneoff=False --format "$1"
}

running_environment() {
    case "$(files_that_run)" in
        '') ;;
        *docker-compose.prod.yml*) echo production ;;
        *docker-compose.dev.yml*) echo development ;;
        *) echo base ;;
    esac
}

running_kafka_mode() {
    case "$(files_that_run 2>/dev/null)" in
        '') ;;
        *docker/compose.zookeeper.yml*) echo zookeeper ;;
        *docker/compose.cluster.yml*) echo cluster ;;
        *) echo kraft ;;
    esac
}

files_that_run() { project_containers '{{.Label "com.docker.compose.project.config_files"}}'; }

judge() { compose --progress quiet run --rm --no-deps -T tools "$@"; }

tools() { compose --progress quiet run --rm --no-deps -T topics "$@"; }
