# Read by the setup scripts that install packages. Debian or Ubuntu; uses sudo only for apt, and only when something is missing.

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

# need_apt MISSING ELSEWHERE PACKAGE...: sets as_root, or ends with 3 and says what to install where there is no way to.
need_apt() {
    local missing=$1 elsewhere=$2
    shift 2
    if ! command -v apt-get >/dev/null; then
        say "missing: $missing; there is no apt-get here, install $elsewhere yourself"
        exit 3
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=()
    elif command -v sudo >/dev/null; then
        as_root=(sudo)
    else
        say "missing: $missing; neither root nor sudo here, ask for: apt-get install $*"
        exit 3
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq >/dev/null || say "apt-get update failed; going on with the lists there are"
}

apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
