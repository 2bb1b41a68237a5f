#!/bin/sh
# Makes the tag of a release: a commit beside main whose resources/ carry the worker's wheel, so that agents need no index for it.
#
#   tools/release.sh [--line NAME]
#
# The version is that of python/pyproject.toml. Tags v<version>; with --line also moves the tag NAME there, such as v1, which is what
# @Library('mlpipeline@v1') loads. Pushes nothing. The wheel is on no branch: main stays without generated binaries.
set -eu

stop() {
    printf 'release: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 2
}

line=
case ${1:-} in
    '') ;;
    --line) line=${2:-} && [ -n "$line" ] || stop "--line needs the name of a tag" "try  tools/release.sh --line v1" ;;
    *) stop "unknown argument '$1'" "try  tools/release.sh --line v1" ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' python/pyproject.toml)
written=$(cat resources/mlpipeline/version.txt)
[ "$written" = "$version" ] || stop "the library says another version than the worker" \
    "resources/mlpipeline/version.txt  $written" "python/pyproject.toml  $version"
[ -z "$(git status --porcelain)" ] || stop "there are changes that are not committed" "try  git status"
if git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null; then
    stop "there is a tag v$version already" "try  a new version in python/pyproject.toml and resources/mlpipeline/version.txt"
fi

apart=$(mktemp -d)
trap 'git worktree remove --force "$apart/tree" >/dev/null 2>&1 || :; rm -rf "$apart"' EXIT
git worktree add --quiet --detach "$apart/tree" HEAD
cd "$apart/tree"
"${PYTHON:-python3}" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$apart/wheels" ./python ||
    stop "the wheel cannot be built" "try  PYTHON=python3.12 tools/release.sh"
wheel=mlpipeline-$version-py3-none-any.whl
[ -f "$apart/wheels/$wheel" ] || stop "another wheel was built than $wheel" "$(ls "$apart/wheels")"
cp "$apart/wheels/$wheel" "resources/mlpipeline/$wheel"
echo "$version $wheel" >resources/mlpipeline/version.txt
git add --force "resources/mlpipeline/$wheel" resources/mlpipeline/version.txt
git commit --quiet -m "Release $version: the worker's wheel beside the library"
git tag --annotate -m "mlPipeline $version" "v$version"
pushed=v$version
if [ -n "$line" ]; then
    git tag --force --annotate -m "the newest release of this line: $version" "$line" >/dev/null
    pushed="$pushed && git push --force origin $line"
fi
echo "tagged v$version${line:+ and $line}; in Jenkins: @Library('mlpipeline@${line:-v$version}') _"
echo "to give it to others: git push origin $pushed"
