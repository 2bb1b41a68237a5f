#!/bin/sh
# A worker whose results a test wrote down: ANSWERS/VERB.json, or ANSWERS/VERB.N.json for its Nth call. ANSWERS/VERB.sh runs before,
# so that a test can make it die, hang or leave no result. What it was given is kept in ANSWERS/calls.
set -eu
if [ "$1" = --version ]; then
    echo "mlpipeline ${WORKER_VERSION:?}"
    exit 0
fi
verb=$1
shift
case $1 in -*) ;; *) verb=$verb-$1 && shift ;; esac
args=$2
result=$4
mkdir -p "$ANSWERS/calls"
count=1
while ! mkdir "$ANSWERS/calls/$verb.$count" 2>/dev/null; do count=$((count + 1)); done
cp "$args" "$ANSWERS/calls/$verb.$count/args.json"
env >"$ANSWERS/calls/$verb.$count/env"
if [ -f "$ANSWERS/$verb.sh" ]; then . "$ANSWERS/$verb.sh"; fi
answer=$ANSWERS/$verb.$count.json
[ -f "$answer" ] || answer=$ANSWERS/$verb.json
cp "$answer" "$result"
mkdir -p ".mlpipeline/runs/r1/report"
cp "$answer" ".mlpipeline/runs/r1/$verb.json"
case $(cat "$answer") in
    *'"verdict":"pass"'*) exit 0 ;;
    *'"verdict":"fail"'*) exit 10 ;;
    *'"verdict":"inconclusive"'*) exit 11 ;;
    *) exit 2 ;;
esac
