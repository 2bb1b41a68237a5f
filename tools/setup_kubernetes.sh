#!/usr/bin/env bash
# Makes sure that a Kubernetes cluster runs for the tests of that target: one node of 1.34, built from source (tests/cluster), or the
# one that MLPIPELINE_TEST_KUBECONFIG names, which is taken as it is. Says nothing when it runs.
#   setup_kubernetes.sh             starts it, unless it runs; it goes on running, the next call takes 0.2 s
#   setup_kubernetes.sh kubeconfig  the same, and prints the path of its kubeconfig, the only line on stdout
#   setup_kubernetes.sh load A.tar  puts images of docker-archives and OCI archives on its node, and prints names and digests
#   setup_kubernetes.sh down        ends it, unless it is yours
# MLPIPELINE_TEST_CLUSTER_STARTED names a file that is written to when this call started a cluster: who started it, ends it.
# MLPIPELINE_TEST_IMAGE_LOADER is the command that does `load` for a cluster of yours, such as: kind load image-archive
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup_kubernetes: %s\n' "$*" >&2; }

yours=${MLPIPELINE_TEST_KUBECONFIG:-}

if [ -n "$yours" ]; then
    case ${1:-} in
        down) exit 0 ;;
        load)
            [ -n "${MLPIPELINE_TEST_IMAGE_LOADER:-}" ] || { say "set MLPIPELINE_TEST_IMAGE_LOADER, such as: kind load image-archive"; exit 3; }
            read -ra loader <<<"$MLPIPELINE_TEST_IMAGE_LOADER"
            for archive in "${@:2}"; do "${loader[@]}" "$archive"; done
            ;;
        *)
            [ -f "$yours" ] || { say "MLPIPELINE_TEST_KUBECONFIG names $yours, which is no file"; exit 3; }
            [ "${1:-}" != kubeconfig ] || echo "$yours"
            ;;
    esac
    exit 0
fi

# There is one cluster per machine and user, whatever HOME a call has: a CI that gives each job an empty HOME finds the binaries and the
# Go caches of the user's own, and the cluster that already runs. Where those cannot be written, HOME's are used.
own=$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6 || true)
[ -n "$own" ] && [ -d "$own" ] && [ -w "$own" ] || own=${HOME:-/root}
export KUBE_TEST_HOME=${KUBE_TEST_HOME:-$own/.cache/kube-for-tests}
export GOMODCACHE=${GOMODCACHE:-${GOPATH:-$own/go}/pkg/mod} GOCACHE=${GOCACHE:-$own/.cache/go-build}

running() { bash -c '. tests/cluster/lib.sh && cluster_pid' || true; }

case ${1:-} in
    down) exec tests/cluster/down ;;
    load) exec tests/cluster/load "${@:2}" ;;
esac

before=$(running)
status=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
[ -n "$before" ] || say "starting the cluster (the first time it is built: some minutes)"
kubeconfig=$(tests/cluster/up 2>"$log") || status=$?
if [ "$status" != 0 ]; then
    cat "$log" >&2
    say "no cluster: tests of Kubernetes are skipped here"
    exit 3
fi
if [ "$(running)" != "$before" ] && [ -n "${MLPIPELINE_TEST_CLUSTER_STARTED:-}" ]; then
    echo "$kubeconfig" >"$MLPIPELINE_TEST_CLUSTER_STARTED"
fi
[ "${1:-}" != kubeconfig ] || echo "$kubeconfig"
