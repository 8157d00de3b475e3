#!/bin/bash
# Stops every part, removes the namespaces and the state (not the cache). Fine on a lab that is down.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
parts() { (cd "$STATE/pid" 2>/dev/null && ls | grep -E "$1") || true; }
if compgen -G "$STATE/*kube?" >/dev/null; then
  nsenter --net=/run/netns/$NETNS bash "$LAB/part.sh" stop nodes || true
fi
# services before what they store in: else their last seconds are a flood of errors
for wave in 'apiserver|controllers|scheduler|neutron|keystone|octavia|barbican' '^amp-|ovn-controller|ovs-vswitchd|ovn-northd' '.'; do
  for p in $(parts "$wave"); do
    kill=
    [ "${p#amp-}" = "$p" ] || kill=KILL # nothing that a virtual machine would miss
    stop "$p" $kill &
  done
  wait
done
# those of amphorae and pods: whatever was left running in them goes too
for netns in $(sort -u "$STATE/namespaces" 2>/dev/null); do
  delete_netns "$netns"
done
for node in $NODES; do
  ip netns del "${node%=*}" 2>/dev/null || true
done
ip netns del $NETNS 2>/dev/null || true
rm -rf "$STATE" "$DATA"
