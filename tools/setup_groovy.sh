#!/usr/bin/env bash
# Makes this machine ready for the tests of the Jenkins library: a JDK 17 or newer and Maven. Says nothing when both are there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

has_jdk() {
    command -v javac >/dev/null || return 1
    local version
    version=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 17 ]
}

missing=()
has_jdk || missing+=(openjdk-17-jdk-headless)
command -v mvn >/dev/null || missing+=(maven)
[ "${#missing[@]}" -gt 0 ] || exit 0

need_apt "${missing[*]}" "a JDK 17 or newer (javac) and Maven 3.6 or newer (mvn)" "${missing[@]}"
apt_install "${missing[@]}"

if ! has_jdk || ! command -v mvn >/dev/null; then
    say "still missing after the installation: $(has_jdk || printf 'javac 17 or newer ')$(command -v mvn >/dev/null || printf 'mvn')"
    say "likely an older JDK comes first on the PATH: $(command -v javac || printf 'no javac')"
    exit 3
fi
