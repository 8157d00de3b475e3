#!/bin/bash
# Prints the rustc that builds for wasm32-unknown-unknown, for cargo's RUSTC: "" when the one in PATH can, else a private one that
# is set up from Debian if need be. Nothing is downloaded through rustup, and there need not be one: who has it runs
# `rustup target add wasm32-unknown-unknown` once, and the first test finds it.
set -euo pipefail
target=wasm32-unknown-unknown
folder=$HOME/.cache/deb13-wasm
has() { compgen -G "$("$1" --print target-libdir --target $target 2>/dev/null)/libstd-*.rlib" >/dev/null; }
if has rustc; then
  echo ""
  exit
fi
rustc=$folder/usr/bin/rustc
has "$rustc" || "$(dirname "$0")/debian13.sh" "$folder" >&2
has "$rustc" || { echo "$rustc has no std for $target" >&2; exit 1; }
echo "$rustc"
