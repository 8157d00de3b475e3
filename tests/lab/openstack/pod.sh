#!/bin/bash
# Network namespaces on Neutron ports, as pods and virtual machines have them: servers and clients with real traffic.
# Inside the lab it is the command `pod`. OVN says what Neutron wants of a port, so that nothing here needs a token.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$LAB/openstack/parts.sh"
usage() {
  cat >&2 <<'U'
pod up NAME PORT        namespace NAME on the Neutron port PORT (id): its MAC, addresses and router; nothing to do where it is so
pod serve NAME TCP_PORT [FILE]
                        HTTP server in NAME: answers with JSON: name (NAME), path, headers (names in lower case);
                        with FILE (certificate and key, PEM) over TLS
pod answer NAME PORT..  answer whatever comes to these TCP and UDP ports of NAME
pod reach NAME <LIST    which of these answer to NAME: a JSON list of {"protocol", "address", "port"}, and one of booleans
pod stream NAME ADDRESS PORT
                        numbers that come from who answers there over one TCP connection: a line of JSON about them for each that is read
pod exec NAME COMMAND.. run a command in NAME
pod down NAME           end what runs in NAME and delete it; its port stays, as DOWN
pod list                what there is: name, chassis, port
U
  exit 2
}
nb() { ovn-nbctl --db="$OVN_NB" --timeout=10 --bare "$@"; }
vsctl() { # NODE ARGUMENT...
  local db=unix:$RUN/ovs-$1/db.sock
  shift
  ovs-vsctl --db="$db" --timeout=20 --bare "$@"
}
# The interfaces of a pod, or of all: "POD NODE INTERFACE PORT" each
plugged() { # [NAME]
  local node tap which='external_ids:pod!=""'
  [ $# -eq 0 ] || which="external_ids:pod=\"$1\""
  for node in $NODES; do
    node=${node%=*}
    for tap in $(vsctl "$node" --columns=name find Interface "$which"); do
      echo "$(vsctl "$node" get Interface "$tap" external_ids:pod) $node $tap $(vsctl "$node" get Interface "$tap" external_ids:iface-id)" | tr -d '"'
    done
  done
}
cidrs() { nb --if-exists get Logical_Switch_Port "$1" external_ids:'neutron\:cidrs' | tr -d '"'; }
up() { # NAME PORT
  local name=$1 port=$2 tap=tap${2:0:10} node
  node=$(nb --if-exists get Logical_Switch_Port "$port" options:requested-chassis | tr -d '"')
  [[ " $NODES " = *" $node="* ]] && [ -n "$node" ] || { echo "port $port: binding:host_id is '$node', the chassis are $NODES" >&2; return 1; }
  if [ "$(plugged "$name")" != "$name $node $tap $port" ]; then
    down "$name"
    plug "$name" "$port" "$tap" "$node"
  fi
  vsctl "$node" wait-until Interface "$tap" external_ids:ovn-installed=true
}
plug() { # NAME PORT INTERFACE NODE
  local name=$1 port=$2 tap=$3 node=$4 netns=$NETNS.$1 mac cidr network via
  mac=$(nb get Logical_Switch_Port "$port" addresses | grep -oE '([0-9a-f]{2}:){5}[0-9a-f]{2}' | head -1)
  echo "$netns" >>"$STATE/namespaces"
  ip netns add "$netns"
  ip -n "$netns" link set lo up
  ip -n "$node" link del "$tap" 2>/dev/null || true
  ip link add "$tap" netns "$node" type veth peer name eth0 netns "$netns"
  ip -n "$netns" link set eth0 address "$mac" mtu 1442 up
  # OVS reads veths through AF_PACKET, which has no checksum offload
  nsenter --net="/run/netns/$netns" ethtool -K eth0 tx off >/dev/null
  ip -n "$node" link set "$tap" up
  for cidr in $(cidrs "$port"); do
    ip -n "$netns" addr add "$cidr" dev eth0 nodad 2>/dev/null || ip -n "$netns" addr add "$cidr" dev eth0
  done
  # a default route to each router of the network, as far as there is none
  network=$(nb get Logical_Switch_Port "$port" external_ids:'neutron\:network_name' | tr -d '"')
  for via in $(nb --columns=name find Logical_Switch_Port type=router external_ids:'neutron\:network_name'="$network"); do
    for cidr in $(cidrs "$via"); do
      ip -n "$netns" route add default via "${cidr%/*}" 2>/dev/null || true
    done
  done
  vsctl "$node" -- --may-exist add-port br-int "$tap" -- set Interface "$tap" external_ids:pod="$name" external_ids:iface-id="$port" \
    "external_ids:attached-mac=\"$mac\"" external_ids:iface-status=active
}
down() { # NAME
  local pod node tap port
  stop "pod-$1" KILL
  plugged "$1" | while read -r pod node tap port; do
    vsctl "$node" --if-exists del-port br-int "$tap"
    ip -n "$node" link del "$tap" 2>/dev/null || true
  done
  delete_netns "$NETNS.$1"
}
inside() { # NAME COMMAND...
  local netns=/run/netns/$NETNS.$1
  [ -e "$netns" ] || { echo "there is no pod $1" >&2; return 1; }
  shift
  nsenter --net="$netns" "$@"
}

case ${1-} in
up) [ $# -eq 3 ] || usage; up "$2" "$3" ;;
serve)
  [ $# -eq 3 ] || [ $# -eq 4 ] || usage
  alive "pod-$2" || spawn "pod-$2" "tcp:$3" nsenter --net="/run/netns/$NETNS.$2" "$PY" -SE "$CONF/web.py" "${@:2}"
  until_up "pod-$2" 20 inside "$2" curl -skm 3 "http${4:+s}://127.0.0.1:$3"
  ;;
answer)
  [ $# -ge 3 ] || usage
  alive "pod-$2" || spawn "pod-$2" "tcp:$3" nsenter --net="/run/netns/$NETNS.$2" "$PY" -SE "$CONF/packets.py" answer "${@:3}"
  for port in "${@:3}"; do
    until_up "pod-$2" 20 inside "$2" "$PY" -SE "$CONF/packets.py" answers "$port"
  done
  ;;
reach) [ $# -eq 2 ] || usage; inside "$2" "$PY" -SE "$CONF/packets.py" reach ;;
stream) [ $# -eq 4 ] || usage; inside "$2" "$PY" -SE "$CONF/packets.py" stream "$3" "$4" ;;
exec) [ $# -ge 3 ] || usage; shift; inside "$@" ;;
down) [ $# -eq 2 ] || usage; down "$2" ;;
list) plugged | while read -r pod node tap port; do echo "$pod $node $port"; done ;;
*) usage ;;
esac
