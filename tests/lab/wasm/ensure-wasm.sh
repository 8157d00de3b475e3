#!/bin/bash
# Prints the cargo toolchain argument that builds for wasm32-unknown-unknown: "" when the default toolchain can, else
# "+deb13-wasm", a private one that is set up from Debian if need be. Nothing is downloaded through rustup: who may
# do that runs `rustup target add wasm32-unknown-unknown` once, and the first test finds it.
set -euo pipefail
target=wasm32-unknown-unknown
name=${WASM_TOOLCHAIN:-deb13-wasm}
has() { compgen -G "$(rustc $1 --print target-libdir --target $target 2>/dev/null)/libstd-*.rlib" >/dev/null; }
if has ""; then
  echo ""
  exit
fi
has "+$name" || "$(dirname "$0")/debian13.sh" "$HOME/.cache/$name" "$name" >&2
has "+$name" || { echo "the toolchain $name has no std for $target" >&2; exit 1; }
echo "+$name"
