#!/usr/bin/env bash
# Makes the files of a second machine for the test that it builds the same images: Debian 13 with the Python 3.11 of Debian 12, and a
# clock that can be set. Debian's own packages, unpacked into .tools/second-machine; nothing is installed. Says nothing when it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup_second_machine: %s\n' "$*" >&2; }

place=.tools/second-machine
packages=(base-files base-passwd netbase media-types tzdata dash coreutils libgomp1 libstdc++6 libfaketime python3.11)

stamp=$(sha256sum <tools/setup_second_machine.sh | cut -d' ' -f1)
[ "$(cat "$place/.stamp" 2>/dev/null)" != "$stamp" ] || exit 0

mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -1; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null || [ ! -f "$keys" ]; then
    say "this needs Debian (apt-get and its keyring); elsewhere the test of a second machine is skipped"
    exit 3
fi
if [ -z "$(mirror)" ]; then
    if [ "$(id -u)" = 0 ]; then apt-get update -qq >/dev/null; else sudo apt-get update -qq >/dev/null; fi
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
mkdir -p "$folder"/{lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d,root}
touch "$folder/status"
for release in trixie bookworm; do
    echo "deb [signed-by=$keys] $(mirror) $release main"
done >"$folder/etc/sources.list"
printf 'Package: *\nPin: release n=trixie\nPin-Priority: 900\n' >"$folder/etc/preferences"
apt() {
    apt-get -qq -o Dir::Etc="$folder/etc" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$folder/lists" \
        -o Dir::State::status="$folder/status" -o Dir::Cache="$folder/cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none -o Acquire::Retries=3 "$@" >/dev/null
}

say "fetching the files of another Debian release (unpacked into $place)"
apt update
apt install --yes --no-install-recommends --download-only "${packages[@]}"
# Packages of the older release still have /lib apart from /usr/lib: they follow the newer one's links.
for package in "$folder"/cache/archives/{base-files_*,*}.deb; do
    dpkg --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory "$folder/root"
done
rm -rf "$folder/root"/usr/share/{doc,man,locale,info,lintian,bash-completion}
# What its installation would have done, as far as a Python needs it.
mkdir -p "$folder/root"/{proc,dev,tmp,machine}
echo "second-machine" >"$folder/root/etc/hostname"
cp "$folder/root/usr/share/base-passwd/passwd.master" "$folder/root/etc/passwd"
cp "$folder/root/usr/share/base-passwd/group.master" "$folder/root/etc/group"
rm -rf "$place"
mkdir -p .tools
cp -a "$folder/root" "$place"
printf '%s' "$stamp" >"$place/.stamp"
