#!/bin/sh
# Makes sure that this agent has the worker of exactly this version, then becomes it.
#
#   sh install-worker.sh VERSION CALL-FOLDER WHEEL|- ARGUMENT...
#
# The first of these that is set says where the worker comes from:
#   MLPIPELINE_WORKER      a command that is there already, such as /usr/local/bin/mlpipeline in an agent image
#   MLPIPELINE_WHEELHOUSE  a folder of wheels; nothing is fetched from a network
#   MLPIPELINE_PACKAGE     a requirement for pip: an index version, git+https://...@v0.1.0#subdirectory=python, a path
#   WHEEL                  the wheel that a release of the library carries
#   else                   mlpipeline==VERSION from pip's own index
#
# It is installed once per agent and version into MLPIPELINE_WORKERS (default ~/.mlpipeline/workers) behind a lock. Scripts
# of an environment name its folder, so it cannot be moved into place: it counts only once the file "complete" is there,
# and whoever holds the lock starts a half-made one anew.
#
# After an install, versions that nobody has called for MLPIPELINE_WORKERS_DAYS (default 30) and that no process runs from are removed.
#
# Exit 2: the version is another one; 3: it could not be installed. The words also go to CALL-FOLDER/trouble.txt.
set -eu

version=$1
folder=$2
wheel=$3
shift 3
root=${MLPIPELINE_WORKERS:-${HOME:?}/.mlpipeline/workers}
place=$root/$version
patience=${MLPIPELINE_INSTALL_PATIENCE:-1800}
days=${MLPIPELINE_WORKERS_DAYS:-30}

stop() {
    code=$1
    shift
    printf '%s\n' "$@" | tee "$folder/trouble.txt" >&2
    exit "$code"
}

must_match() {
    found=$("$1" --version 2>/dev/null) || stop 3 "the worker does not start: $1 --version" "$("$1" --version 2>&1 | tail -n 5)"
    [ "$found" = "mlpipeline $version" ] || stop 2 \
        "the library is version $version, but the worker is '$found'" \
        "  worker  $1" \
        "  try     pin both to one version: @Library('mlpipeline@v$version'), and $2"
}

python_for_it() {
    for candidate in ${MLPIPELINE_PYTHON:-} python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

install() {
    python=$(python_for_it) || stop 3 \
        "there is no Python 3.11 or 3.12 on this agent ($(uname -n))" \
        "  try  install one, or set MLPIPELINE_PYTHON, or use an agent image with the worker and set MLPIPELINE_WORKER"
    free=$(df -Pk "$root" | awk 'NR == 2 {print $4}')
    [ "$free" -gt 2000000 ] || stop 3 "the disk of this agent ($(uname -n)) has $((free / 1024)) MiB left; the worker needs 2 GB" "  folder  $root"
    "$python" -m venv "$place" >"$folder/install.log" 2>&1 || trouble
    set --
    if [ -n "${MLPIPELINE_WHEELHOUSE:-}" ]; then
        set -- --no-index --find-links "$MLPIPELINE_WHEELHOUSE"
        wanted="mlpipeline==$version"
    elif [ -n "${MLPIPELINE_PACKAGE:-}" ]; then
        wanted=$MLPIPELINE_PACKAGE
    elif [ "$wheel" != - ]; then
        wanted=$wheel
    else
        wanted="mlpipeline==$version"
    fi
    pip "$@" "$wanted" || trouble
    # What doctor gpu reads the driver with; where it is missing, doctor gpu says so, and everything else works.
    if command -v nvidia-smi >/dev/null; then pip "$@" 'nvidia-ml-py>=12' || :; fi
    must_match "$place/bin/mlpipeline" "MLPIPELINE_PACKAGE or MLPIPELINE_WHEELHOUSE to the same"
    : >"$place/complete"
}

pip() {
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" >>"$folder/install.log" 2>&1
}

trouble() {
    likely="see the last lines of $folder/install.log"
    if grep -q 'No space left' "$folder/install.log"; then likely="the disk is full"; fi
    if grep -q 'ensurepip is not' "$folder/install.log"; then likely="the package python3-venv is missing"; fi
    if grep -q 'No matching distribution' "$folder/install.log"; then
        likely="no mlpipeline $version where it was looked for: set MLPIPELINE_WHEELHOUSE or MLPIPELINE_PACKAGE"
    fi
    stop 3 "the worker could not be installed on this agent ($(uname -n))" "  likely  $likely" "$(tail -n 15 "$folder/install.log")"
}

if [ -n "${MLPIPELINE_WORKER:-}" ]; then
    command -v "$MLPIPELINE_WORKER" >/dev/null || stop 3 "MLPIPELINE_WORKER is set, but there is no such command: $MLPIPELINE_WORKER"
    must_match "$MLPIPELINE_WORKER" "the worker of MLPIPELINE_WORKER to the same"
    exec "$MLPIPELINE_WORKER" "$@"
fi

unused() {
    [ -z "$(find "$1/used" "$1/complete" -mtime "-$days" 2>/dev/null)" ] && ! grep -qsF "$1/" /proc/[0-9]*/cmdline
}

# A version is called complete no more before it is looked at again: who calls it at this very moment has left a fresh mark, or finds
# it incomplete and waits at its lock.
remove_if_unused() {
    flock -n 8 || return 0
    unused "$1" || return 0
    touch -r "$1/complete" "$1/was-complete"
    rm -f "$1/complete"
    if unused "$1"; then
        rm -rf "$1"
        echo "removed a worker that nobody has called for $days days: ${1##*/}" >&2
    else
        mv "$1/was-complete" "$1/complete"
    fi
}

prune() {
    for old in "$root"/*/; do
        old=${old%/}
        if [ "$old" != "$place" ] && [ -f "$old/complete" ]; then
            (remove_if_unused "$old") 8>"$old.lock"
        fi
    done
}

# An environment whose Python was taken away from under it, as by an upgrade of the agent, is made anew.
usable() {
    [ -f "$place/complete" ] && "$place/bin/python" -c '' 2>/dev/null
}

# In a folder of others, where no mark can be left, nobody but them removes anything.
mark_used() { touch "$place/used" 2>/dev/null || :; }

if [ -d "$place" ]; then mark_used; fi
if ! usable; then
    command -v flock >/dev/null || stop 3 "there is no flock on this agent ($(uname -n))" "  try  install util-linux, or set MLPIPELINE_WORKER"
    mkdir -p "$root" || stop 3 "the folder of workers cannot be made: $root"
    exec 9>"$root/$version.lock"
    flock -w "$patience" 9 || stop 3 "another build has been installing the worker for more than $patience seconds" "  lock  $root/$version.lock"
    if ! usable; then
        rm -rf "$place"
        install
        # An agent that cannot be tidied up is no reason to stop a build.
        case $days in '' | *[!0-9]*) ;; *) prune || : ;; esac
    fi
    mark_used
    # Whatever the worker starts must not keep the lock.
    exec 9>&-
fi

exec "$place/bin/mlpipeline" "$@"
