#!/bin/bash
# debian13.sh FOLDER : a private copy of Debian 13's rustc 1.85 with the std of wasm32-unknown-unknown, run through its own
# dynamic loader: FOLDER/usr/bin/rustc. Changes nothing of the system, needs neither root nor rustup.
set -euo pipefail
folder=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,sources,preferences,packages}
: >"$work/status"

# the same mirror as the system's, one release on
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | grep -v security | head -1 || true)
[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" && $2 !~ /security/ { print $2; exit }' /etc/apt/sources.list)
cat >"$work/sources/debian13.sources" <<S
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
S
# an apt of its own: lists, status and cache in the work folder
apt=(apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources"
  -o Dir::Etc::preferences=/dev/null -o "Dir::Etc::preferencesparts=$work/preferences"
  -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
  -o "APT::Sandbox::User=$(id -un)" -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
"${apt[@]}" update
(cd "$work/packages" && "${apt[@]}" download rustc libstd-rust-1.85 libstd-rust-dev libstd-rust-dev-wasm32 libllvm19 libc6 \
  libgcc-s1 libstdc++6 libz3-4 zlib1g libzstd1 libxml2 libedit2 libtinfo6 libffi8 liblzma5 libbsd0 libmd0 libgmp10)
rm -rf "$folder"
mkdir -p "$folder"
for package in "$work"/packages/*.deb; do
  dpkg-deb --fsys-tarfile "$package" |
    tar x -C "$folder" --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude='*wasip*'
done

libraries=$folder/usr/lib/x86_64-linux-gnu
for program in rustc rustdoc; do
  path=$folder/usr/bin/$program
  [ -e "$path" ] || continue
  mv "$path" "$path.real"
  cat >"$path" <<S
#!/bin/sh
exec $libraries/ld-linux-x86-64.so.2 --library-path $libraries --argv0 $path $path.real "\$@"
S
  chmod +x "$path"
done
# the linker for wasm is that of the rustc in PATH
linker=lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
mkdir -p "$(dirname "$folder/usr/$linker")"
ln -sf "$(rustc --print sysroot)/$linker" "$folder/usr/$linker"
