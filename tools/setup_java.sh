#!/usr/bin/env bash
# Makes this machine ready for the tests of Spark: a Java 17 or newer. Says nothing when it is there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

has_java() {
    command -v java >/dev/null || return 1
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

has_java && exit 0

need_apt java "a Java 17 or newer" default-jre-headless
apt_install default-jre-headless

if ! has_java; then
    say "still missing after the installation: java 17 or newer; likely an older one comes first on the PATH: $(command -v java || printf 'none')"
    exit 3
fi
