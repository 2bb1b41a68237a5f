#!/usr/bin/env bash
# Makes this machine ready for the tests of Spark: a Java 17 or newer. Says nothing when it is there.
# Debian or Ubuntu; uses sudo only for apt, and only when it is missing.
set -euo pipefail

say() { printf 'setup_java: %s\n' "$*" >&2; }

has_java() {
    command -v java >/dev/null || return 1
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

has_java && exit 0

if ! command -v apt-get >/dev/null; then
    say "missing: java; there is no apt-get here, install a Java 17 or newer yourself"
    exit 3
fi
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    say "missing: java; neither root nor sudo here, ask for: apt-get install default-jre-headless"
    exit 3
fi

say "installing default-jre-headless"
"${as_root[@]}" apt-get update -qq >/dev/null || say "apt-get update failed; going on with the lists there are"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jre-headless >/dev/null

if ! has_java; then
    say "still missing after the installation: java 17 or newer; likely an older one comes first on the PATH: $(command -v java || printf 'none')"
    exit 3
fi
