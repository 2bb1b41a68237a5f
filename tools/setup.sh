#!/usr/bin/env bash
# Makes this checkout ready to work: .venv with the locked dependencies and the worker itself, and a Prometheus.
# Run again, it does nothing unless the lock or this file changed. Debian or Ubuntu; uses sudo only for apt, and only when a part is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv_version=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' python/requirements.lock.txt)
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
say() { printf 'setup: %s\n' "$*" >&2; }

apt_updated=
apt_update() {
    [ -n "$apt_updated" ] || as_root apt-get update -qq >/dev/null || say "apt-get update failed; going on with the lists there are"
    apt_updated=1
}

find_python() {
    for candidate in python3.11 python3.12 python3; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python 3.11 or 3.12 on the PATH; try: apt-get install python3 python3-venv"
    exit 3
}

stamp=$(cat python/requirements.lock.txt python/pyproject.toml tools/setup.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.stamp 2>/dev/null)" != "$stamp" ] || ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        apt_update
        as_root apt-get install -y -qq python3-venv >/dev/null
    fi
    say "installing the locked dependencies into .venv (about 1 GB, a minute the first time)"
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
    # Hashes make the lock the authority; the index is whatever this machine is set up to use.
    VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv pip sync --quiet --require-hashes python/requirements.lock.txt
    VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv pip install --quiet --no-deps --editable python
    # Start-up time of the command is a promise; compiling on first use would break it once per module.
    .venv/bin/python -m compileall -q python/src .venv/lib >/dev/null || true
    printf '%s' "$stamp" >.venv/.stamp
fi

for program in git curl; do # curl: the tutorial asks the service with it
    if ! command -v "$program" >/dev/null; then
        apt_update
        as_root apt-get install -y -qq "$program" >/dev/null
    fi
done

if ! command -v prometheus >/dev/null && [ ! -x .tools/prometheus ]; then
    # Unpacked, not installed: Debian's package would start a service on port 9090.
    say "fetching Prometheus (Debian's package, unpacked into .tools, no service is started)"
    apt_update
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    (cd "$folder" && apt-get download -qq prometheus >/dev/null)
    dpkg -x "$folder"/prometheus_*.deb "$folder/unpacked"
    mkdir -p .tools
    cp "$folder/unpacked/usr/bin/prometheus" .tools/prometheus.part
    mv .tools/prometheus.part .tools/prometheus
fi
