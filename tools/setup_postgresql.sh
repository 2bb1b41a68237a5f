#!/usr/bin/env bash
# Makes this machine ready for the tests of the shared ledger: PostgreSQL's own programs. Says nothing when they are there.
# Debian or Ubuntu; uses sudo only for apt, and only when they are missing. Starts no server and makes no cluster.
set -euo pipefail

say() { printf 'setup_postgresql: %s\n' "$*" >&2; }

has_server() {
    command -v initdb >/dev/null && command -v postgres >/dev/null && return 0
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_server && exit 0

if ! command -v apt-get >/dev/null; then
    say "missing: initdb and postgres; there is no apt-get here, install PostgreSQL 13 or newer yourself"
    exit 3
fi
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    say "missing: initdb and postgres; neither root nor sudo here, ask for: apt-get install postgresql"
    exit 3
fi

say "installing postgresql"
"${as_root[@]}" apt-get update -qq >/dev/null || say "apt-get update failed; going on with the lists there are"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
# Otherwise the package would start a server of its own.
"${as_root[@]}" sh -c 'mkdir -p /etc/postgresql-common/createcluster.d && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/mlpipeline.conf'
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null

if ! has_server; then
    say "still missing after the installation: initdb"
    exit 3
fi
