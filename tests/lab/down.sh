#!/bin/bash
# Stops every part, removes the namespaces and the state (not the cache). Fine on a lab that is down.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
parts() { (cd "$STATE/pid" 2>/dev/null && ls | grep -E "$1") || true; }
# services before what they store in: else their last seconds are a flood of errors
for wave in 'apiserver|controllers|scheduler|neutron|keystone|octavia' 'ovn-controller|ovs-vswitchd|ovn-northd' '.'; do
  for p in $(parts "$wave"); do stop "$p" & done
  wait
done
for node in $NODES; do
  ip netns del "${node%=*}" 2>/dev/null || true
done
ip netns del $NETNS 2>/dev/null || true
rm -rf "$STATE" "$DATA"
