#!/bin/bash
# kubectl and the openstack client, unmodified: prints the folders to be put into PATH. What is in PATH already or was built for the
# lab is taken as it is; else kubectl is built from its Go module, and the client comes from PyPI, both into the cache. No root.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$LAB/kubernetes/parts.sh"
. "$LAB/openstack/parts.sh"
CLIENTS=$CACHE/clients-$(key "$LAB/kubernetes/go.mod" "$CONF/constraints.txt")

folder_of() { dirname "$(command -v "$1")"; }
if command -v kubectl >/dev/null; then
  folder_of kubectl
elif [ -e "$BIN/.done" ]; then
  echo "$BIN"
else
  if [ ! -x "$CLIENTS/bin/kubectl" ]; then
    echo "building kubectl from its Go module: ~2 min, the first time only" >&2
    mkdir -p "$CLIENTS/bin"
    (cd "$LAB/kubernetes" && CGO_ENABLED=0 go build -trimpath -o "$CLIENTS/bin/kubectl.new" k8s.io/kubernetes/cmd/kubectl)
    mv "$CLIENTS/bin/kubectl.new" "$CLIENTS/bin/kubectl"
  fi
  echo "$CLIENTS/bin"
fi
if command -v openstack >/dev/null; then
  folder_of openstack
elif [ -e "$VENV/.done" ]; then
  echo "$VENV/bin"
else
  if [ ! -e "$CLIENTS/venv/.done" ]; then
    echo "installing the openstack client from PyPI: ~30 s, the first time only" >&2
    mkdir -p "$CLIENTS"
    python3 -m venv "$CLIENTS/venv"
    "$CLIENTS/venv/bin/pip" install -q -c "$CONF/constraints.txt" python-openstackclient python-octaviaclient
    touch "$CLIENTS/venv/.done"
  fi
  echo "$CLIENTS/venv/bin"
fi
