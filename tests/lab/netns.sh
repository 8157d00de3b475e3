#!/bin/bash
# The network namespace that the lab runs in, and the folders of its state. Idempotent.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# where /run outlives a restart of the machine, what it says is no longer so
boot=$(cat /proc/sys/kernel/random/boot_id)
[ "$(cat "$STATE/boot" 2>/dev/null)" = "$boot" ] || bash "$LAB/down.sh"
mkdir -p "$STATE"/{pid,log,bin} "$DATA"
chmod 700 "$STATE" "$DATA"
echo "$boot" >"$STATE/boot"
[ -e /run/netns/$NETNS ] || ip netns add $NETNS
ip -n $NETNS link set lo up
# without a MAC of its own a bridge takes its lowest port's, and so changes it as ports come and go
ip -n $NETNS link show $SWITCH >/dev/null 2>&1 || ip -n $NETNS link add $SWITCH address 02:00:5e:00:00:01 type bridge
ip -n $NETNS addr replace $SWITCH_ADDRESS/24 dev $SWITCH
ip -n $NETNS link set $SWITCH up
