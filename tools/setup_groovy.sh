#!/usr/bin/env bash
# Makes this machine ready for the tests of the Jenkins library: a JDK 17 or newer and Maven. Says nothing when both are there.
# Debian or Ubuntu; uses sudo only for apt, and only when a part is missing.
set -euo pipefail

say() { printf 'setup_groovy: %s\n' "$*" >&2; }

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

if ! command -v apt-get >/dev/null; then
    say "missing: ${missing[*]}; there is no apt-get here, install a JDK 17 or newer (javac) and Maven 3.6 or newer (mvn) yourself"
    exit 3
fi
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    say "missing: ${missing[*]}; neither root nor sudo here, ask for: apt-get install ${missing[*]}"
    exit 3
fi

say "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq >/dev/null || say "apt-get update failed; going on with the lists there are"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

if ! has_jdk || ! command -v mvn >/dev/null; then
    say "still missing after the installation: $(has_jdk || printf 'javac 17 or newer ')$(command -v mvn >/dev/null || printf 'mvn')"
    say "likely an older JDK comes first on the PATH: $(command -v javac || printf 'no javac')"
    exit 3
fi
