#!/usr/bin/env bash
# Makes this machine ready for the tests of images: a registry, a container engine and the files of a base image, all from Debian's
# own packages, unpacked into .tools/images. Nothing is installed and no service is started. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup_images: %s\n' "$*" >&2; }

tools=.tools/images
programs=(docker-registry docker.io containerd runc tini)
# Python 3.11 with what its standard library links, a C++ runtime and OpenMP for the models' wheels, a shell.
root=(base-files netbase media-types tzdata ca-certificates dash coreutils libacl1 libattr1 libgmp10 libselinux1 libpcre2-8-0
    libc6 libc-bin libcrypt1 libgcc-s1 libstdc++6 libgomp1 zlib1g libssl3 libffi8 libexpat1 libbz2-1.0 liblzma5 libsqlite3-0
    libncursesw6 libtinfo6 libuuid1 libdb5.3 libreadline8 libnsl2 libtirpc3 libgssapi-krb5-2 libkrb5-3 libk5crypto3
    libkrb5support0 libcom-err2 libkeyutils1 python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib)

stamp=$(sha256sum <tools/setup_images.sh | cut -d' ' -f1)
[ "$(cat "$tools/.stamp" 2>/dev/null)" != "$stamp" ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null || ! apt-cache show python3.11 >/dev/null 2>&1; then
    say "this needs Debian 12 (apt-get, and its package python3.11); elsewhere the tests of images are skipped"
    exit 3
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
mkdir -p "$folder/programs" "$folder/root" "$folder/new"
fetch() { (cd "$folder/$1" && shift && apt-get download -qq "$@" >/dev/null 2>&1); }

say "fetching a registry, a container engine and a base image's files (Debian's packages, unpacked into $tools)"
if ! fetch programs "${programs[@]}" || ! fetch root "${root[@]}"; then
    if [ "$(id -u)" = 0 ]; then apt-get update -qq >/dev/null; else sudo apt-get update -qq >/dev/null; fi
    fetch programs "${programs[@]}"
    fetch root "${root[@]}"
fi
for kind in programs root; do
    for package in "$folder/$kind"/*.deb; do dpkg -x "$package" "$folder/new/$kind"; done
done
rm -rf "$folder/new/root"/usr/share/{doc,man,locale,info,lintian,bash-completion}
rm -rf "$tools"
mkdir -p .tools
cp -a "$folder/new" "$tools"
printf '%s' "$stamp" >"$tools/.stamp"
