# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: has the images there, keeps the ones that run, and goes back to them.

# missing_images: our images that this engine does not have, by the names that docker-build.sh gives them.
missing_images() {
    local image name
    for image in $(values_of image | sort -u); do
        name=${image##*/}
        case "$name" in
            crypto-bot-*) docker image inspect "$image" >/dev/null 2>&1 || printf '%s\n' "${name%%:*}" | sed 's/^crypto-bot-//' ;;
        esac
    done
}

# have_images: builds what is missing, or pulls it where a registry is named.
have_images() {
    local image words=''
    for image in "$@"; do words="$words --service $image"; done
    [ -n "$words" ] || return 0
    if values_of image | grep -q '/crypto-bot-tools:'; then
        echo 'Pulling images ...'
        change compose pull --quiet || fail 'the images could not be pulled; check IMAGE_REGISTRY, IMAGE_TAG, the network and the login there'
        return
    fi
    echo 'Building missing images (once; later runs take seconds) ...'
    # shellcheck disable=SC2046,SC2086 # several words
    change scripts/docker-build.sh $(tag_option) $words
}

# tag_option: the tag that the Compose files ask for, unless docker-build.sh gives it anyway.
tag_option() {
    local tag
    tag=$(values_of image | sed -n 's/^crypto-bot-tools:\(.*\)$/\1/p' | head -n 1)
    case "$tag" in '' | latest) ;; *) printf '%s' "--tag $tag" ;; esac
}

# keep_images: names the images that run now `previous`.
keep_images() {
    local each
    for each in $plan_previous; do change docker tag "${each#*=}" "${each%%=*}:previous"; done
}

# roll_back REASON: starts the kept images; fails in any case, since what was asked for does not run.
roll_back() {
    if [ -z "$plan_previous" ]; then
        audit 'up failed, nothing to roll back to'
        fail "$1, and there are no other images to go back to; look: scripts/deploy.sh -e $environment logs"
    fi
    printf 'Deploying failed (%s): rolling back to the previous images ...\n' "$1" >&2
    stop_order_path
    (
        export IMAGE_REGISTRY='' IMAGE_TAG=previous
        start_all
    ) || true
    if await_health "$timeout_s"; then
        audit 'up failed, rolled back'
        fail "rolled back: the previous images run and are healthy; the ones that failed keep their tag, and the next up would start them"
    fi
    audit 'up failed, roll-back failed'
    fail "rolled back, and the previous images are not healthy either; look: scripts/deploy.sh -e $environment logs"
}
