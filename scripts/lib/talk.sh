# shellcheck shell=bash disable=SC2154
# Sourced from the repository's root by a script that is called: what it says of itself, and how it ends when it cannot go on.
#
#   usage           the head of the script
#   wrong WORDS...  wrong usage: what is wrong, on standard error; exit status 2, or $wrong_status
#   fail WORDS...   what went wrong; exit status 1

program=${0##*/}
program=${program%.sh}

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "scripts/$program.sh"; }

wrong() {
    printf '%s: %s; see --help\n' "$program" "$*" >&2
    exit "${wrong_status:-2}"
}

fail() {
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}
