#!/usr/bin/env bash
# Makes this machine ready for the tests of the shared ledger: PostgreSQL's own programs. Says nothing when they are there.
# Starts no server and makes no cluster.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

has_server() {
    command -v initdb >/dev/null && command -v postgres >/dev/null && return 0
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_server && exit 0

need_apt "initdb and postgres" "PostgreSQL 13 or newer" postgresql
apt_install postgresql-common
# Otherwise the package would start a server of its own.
"${as_root[@]}" sh -c 'mkdir -p /etc/postgresql-common/createcluster.d && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/mlpipeline.conf'
apt_install postgresql

if ! has_server; then
    say "still missing after the installation: initdb"
    exit 3
fi
