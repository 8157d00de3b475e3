#!/bin/bash
# part.sh start|stop|kill PART : one part of a running lab; its state stays. Runs inside the namespace.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$LAB/kubernetes/parts.sh"
. "$LAB/openstack/parts.sh"
. "$LAB/kubernetes/nodes.sh"
case "$1 $2" in
start*) "start_$2" ;;
*nodes) stop_nodes ;;
stop*) stop "$2" ;;
kill*) stop "$2" KILL ;;
esac
