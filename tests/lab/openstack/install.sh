#!/bin/bash
# The Python environment of the OpenStack services, in the cache: every version is pinned by conf/constraints.txt.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$LAB/openstack/parts.sh"
[ ! -e "$VENV/.done" ] || exit 0
echo "installing Keystone, Neutron, Octavia and Barbican from PyPI: ~1 min, the first time only"
mkdir -p "$CACHE/openstack"
python3.11 -m venv "$CACHE/openstack/tools"
"$CACHE/openstack/tools/bin/pip" install -q 'uv>=0.4'
"$CACHE/openstack/tools/bin/uv" venv -q --clear --python 3.11 "$VENV"
"$CACHE/openstack/tools/bin/uv" pip install -q --compile-bytecode --python "$VENV/bin/python" \
  -c "$CONF/constraints.txt" -r "$CONF/requirements.txt"
touch "$VENV/.done"
