# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: what must hold before anything is changed; every problem is named at once, each with its fix.

problem_count=0 warning_count=0 problem_text='' warning_text=''

# problem SUBJECT WHAT FIX, warning SUBJECT WHAT FIX: noted for the end.
problem() {
    problem_count=$((problem_count + 1))
    problem_text="$problem_text$(printf '  %-12s %s\n  %-12s fix: %s' "$1" "$2" '' "$3")
"
}
warning() {
    warning_count=$((warning_count + 1))
    warning_text="$warning_text$(printf '  %-12s %s\n  %-12s fix: %s' "$1" "$2" '' "$3")
"
}

# check_host: what this machine shows without a container.
check_host() {
    engine_answers='' config=''
    check_engine
    check_compose
    check_env_file
    check_disk
    check_permissions
    check_clock_service
    if [ -n "$engine_answers" ]; then check_memory; fi
    read_config
    if [ -n "$config" ]; then
        check_secrets
        if [ -n "$engine_answers" ]; then check_ports; fi
    fi
}

check_engine() {
    if ! command -v docker >/dev/null; then
        problem engine 'there is no docker' 'install Docker Engine or Docker Desktop'
    elif ! engine=$(docker info --format '{{.MemTotal}} {{.DockerRootDir}}' 2>/dev/null) || [ -z "$engine" ]; then
        problem engine 'no Docker engine answers' 'start it (sudo systemctl start docker), or let this user use it (sudo usermod -aG docker USER)'
    else
        engine_answers=yes
        check_environment
    fi
}

# check_environment: one machine runs one environment at a time, with one Kafka.
check_environment() {
    local running mode
    running=$(running_environment)
    case "$running $environment" in
        "production development" | "development production" | "base production")
            problem environment "$running runs here" "take it down first: scripts/deploy.sh -e ${running/base/development} down"
            ;;
    esac
    mode=$(running_kafka_mode)
    case "$mode" in
        '' | "$KAFKA_MODE") ;;
        *) problem Kafka "it runs in mode $mode here, and $KAFKA_MODE would not find its log" 'leave out --kafka-mode; to change it: backup, down, and restore with the other mode' ;;
    esac
}

# check_compose: 2.24 brought env files that may be missing.
check_compose() {
    local version major minor
    if ! compose_word 2>/dev/null; then
        problem Compose 'there is no Docker Compose' 'install the plugin docker-compose-plugin, 2.24 or later'
        return
    fi
    version=$($COMPOSE_WORD version --short 2>/dev/null)
    version=${version#v} major=${version%%.*} minor=${version#*.} minor=${minor%%.*}
    case "$major$minor" in *[!0-9]* | '') return ;; esac
    if [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -lt 24 ]; }; then
        problem Compose "Docker Compose is $version, and 2.24 is the oldest that works" 'update the plugin docker-compose-plugin'
    fi
}

check_memory() {
    local least_mb=3500 mb=$((${engine%% *} / 1000000))
    [ "$environment" != production ] || least_mb=7500
    if [ "$mb" -lt $least_mb ]; then
        problem memory "the engine has $mb MB, and $environment needs $least_mb" 'give the engine more (Docker Desktop: Settings, Resources), or use a larger machine'
    elif [ "$environment" = production ] && [ "$mb" -lt 11500 ]; then
        warning memory "the engine has $mb MB; the limits of production add up to 12 GB" 'lower the limits in docker-compose.prod.yml, or use a larger machine'
    fi
}

# check_disk: where the engine keeps its data; on Docker Desktop that is not on this machine, so the disk under this folder stands in.
check_disk() {
    local folder=${engine:-} least_mb=5000 mb
    folder=${folder#* }
    [ -d "$folder" ] || folder=.
    [ "$environment" != production ] || least_mb=10000
    mb=$(df -Pk "$folder" | awk 'NR == 2 {print int($4 / 1024)}')
    [ "$mb" -ge $least_mb ] || problem disk "$mb MB are free under $folder, and $environment needs $least_mb" 'free some: docker system prune, or a larger disk'
}

# check_env_file: development's is made from the example, production's is written by somebody.
check_env_file() {
    local file=.env.dev
    [ "$environment" != production ] || file=.env.prod
    if [ ! -f $file ]; then
        if [ "$environment" = production ]; then
            problem 'env file' '.env.prod is missing' 'cp env.prod.example .env.prod && chmod 600 .env.prod, then edit it'
        elif [ -n "$dry_run" ]; then
            echo 'would make .env.dev from env.dev.example'
        else
            (umask 077 && cp env.dev.example .env.dev)
            echo '.env.dev was missing and is made from env.dev.example'
        fi
    elif [ ! -r $file ]; then
        problem 'env file' "$file cannot be read by $(id -un)" "sudo chown $(id -un) $file"
    fi
}

# check_permissions: containers run as users of their own and read these through mounts.
check_permissions() {
    local shut
    shut=$(find docker monitoring \( -type f ! -perm -004 \) -o \( -type d ! -perm -005 \) 2>/dev/null | head -n 3 | tr '\n' ' ')
    [ -z "$shut" ] || problem permissions "others may not read ${shut% }, which containers have to" 'chmod -R o+rX docker monitoring'
}

# check_clock_service: whether something keeps this machine's clock, where the system can tell.
check_clock_service() {
    case "$(timedatectl show --property NTPSynchronized --value 2>/dev/null || true)" in
        no) warning clock 'nothing sets the clock of this machine; the exchange refuses orders that are seconds off' 'sudo timedatectl set-ntp true' ;;
    esac
}

# read_config: what Compose makes of the files; a file that it cannot read is a problem like others.
read_config() {
    local said
    compose_word 2>/dev/null || return 0
    if said=$(compose config --format json 2>&1 >/dev/null); then
        config=$(compose config --format json 2>/dev/null)
    else
        problem 'Compose files' "$(printf '%s' "$said" | tail -n 1)" 'mend what it names: an env file, .env or a docker-compose*.yml'
    fi
}

# values_of NAME: the text values of a name in the configuration, which Compose lays out a line each.
values_of() { printf '%s\n' "$config" | sed -n 's/^ *"'"$1"'": "\(.*\)",\{0,1\}$/\1/p'; }

# check_secrets: there, not empty, for the containers' group to read and for nobody else.
check_secrets() {
    local file mode owner group missing=''
    for file in $(values_of file); do
        file=${file#"$PWD"/}
        if [ ! -s "$file" ]; then
            problem secrets "$file is missing or empty" "$(how_to_make "$file")"
            missing=$(dirname "$file")
            continue
        fi
        # shellcheck disable=SC2012 # the numbers of owner and group, by what every system has
        read -r mode owner group <<<"$(ls -lndL "$file" | awk '{print $1, $3, $4}')"
        case "$mode $owner $group" in
            ???????[!-]* | ????????[!-]* | ?????????[!-]*) problem secrets "$file is open to everybody on this machine" "sudo chgrp 10001 $file && sudo chmod 0440 $file" ;;
            ????r*' 10001' | ?r*' 10001 '*) ;;
            *) [ "$(uname)" != Linux ] || problem secrets "$file cannot be read by group 10001, as which containers run" "sudo chgrp 10001 $file && sudo chmod 0440 $file" ;;
        esac
    done
    [ -z "$missing" ] || problem_text="$problem_text$(printf '  %-12s then: sudo chgrp 10001 %s/* && sudo chmod 0440 %s/*' '' "$missing" "$missing")
"
}

# how_to_make FILE: what makes a secret.
how_to_make() {
    local folder first=''
    folder=$(dirname "$1")
    [ -d "$folder" ] || first="mkdir -p $folder && "
    case "$1" in
        *slack_webhook_url) echo "the address of an incoming webhook of Slack in it, or for none: ${first}echo off >$1" ;;
        *smtp_password) echo "the password of SMTP_USER in it, or for no mail: ${first}echo off >$1" ;;
        *pagerduty_routing_key) echo "the key of an Events v2 integration of PagerDuty in it, or for none: ${first}echo off >$1" ;;
        *heartbeat_url) echo "an address that calls you when its POST a minute stops coming in it, or for none: ${first}echo off >$1" ;;
        *dashboard_users) echo "a line of NAME and HASH in it, the hash by docker run --rm -it caddy:2.11-alpine caddy hash-password" ;;
        *) echo "${first}openssl rand -hex 24 >$1" ;;
    esac
}

# check_ports: free, or published by this very stack.
check_ports() {
    local port ours
    ours=$(project_containers '{{.Ports}}')
    for port in $(values_of published | sort -nu); do
        case "$ours" in *":$port->"*) continue ;; esac
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            problem ports "port $port is taken" "stop what listens there, or choose another: $(variable_of_port "$port")=PORT in .env"
        fi
    done
}

# variable_of_port PORT: what moves a port of the Compose files.
variable_of_port() {
    local name
    name=$(grep -ho "[A-Z0-9_]*_PORT:-$1}" docker-compose*.yml docker/compose.*.yml | head -n 1)
    name=${name%%:*}
    printf '%s' "${name:-its variable}"
}

# tell_problems: everything that was found; fails when something has to be mended first.
tell_problems() {
    if [ $warning_count -gt 0 ]; then printf 'Warnings: %d\n%s' $warning_count "$warning_text"; fi
    [ $problem_count -gt 0 ] || return 0
    printf 'Problems: %d; nothing was changed\n%s' $problem_count "$problem_text" >&2
    audit "$command refused, $problem_count problems"
    exit 1
}
