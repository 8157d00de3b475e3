#!/bin/bash
# The caller of tests/node/libcni, built from its Go module, kept in the cache; with `path` it prints where that is.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
SOURCE=$LAB/../node/libcni
CALLER=$CACHE/libcni/$(key "$SOURCE"/{go.mod,go.sum,main.go,plugins.go})/libcni
if [ ! -x "$CALLER" ]; then
  command -v go >/dev/null || { echo "go is not in PATH: install Go $(awk '$1 == "go" { print $2 }' "$SOURCE/go.mod") or later" >&2; exit 1; }
  echo "building the caller on the CNI reference library: ~1 min, the first time only" >&2
  mkdir -p "$(dirname "$CALLER")"
  (cd "$SOURCE" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$CALLER.$$" .)
  mv "$CALLER.$$" "$CALLER"
fi
[ "${1-}" != path ] || echo "$CALLER"
