# OVN central and the chassis; sourced by parts.sh.
OVN_NB=unix:$RUN/ovn/nb.sock OVN_SB=unix:$RUN/ovn/sb.sock

# ovsdb PART FILE SCHEMA SOCKET [COMMAND...] : an ovsdb-server; COMMAND is what it runs in (a chassis' namespace)
ovsdb() {
  local part=$1 file=$2 schema=$3 sock=$4
  shift 4
  mkdir -p "$(dirname "$file")" "$(dirname "$sock")"
  [ -e "$file" ] || ovsdb-tool create "$file" "$schema"
  alive "$part" || spawn "$part" "unix:$sock" "$@" ovsdb-server "$file" --remote="punix:$sock" --unixctl="$sock.ctl" -vfile:off -vsyslog:off
  until_up "$part" 20 ovsdb-client --timeout=2 list-dbs "unix:$sock"
}
start_ovn() {
  ovsdb ovn-nb "$DATA/ovn/nb.db" /usr/share/ovn/ovn-nb.ovsschema "${OVN_NB#unix:}"
  ovsdb ovn-sb "$DATA/ovn/sb.db" /usr/share/ovn/ovn-sb.ovsschema "${OVN_SB#unix:}"
  ovn-nbctl --db="$OVN_NB" --no-wait init
  ovn-sbctl --db="$OVN_SB" init
  alive ovn-northd || spawn ovn-northd "unix:$RUN/ovn/northd.ctl" ovn-northd --ovnnb-db="$OVN_NB" --ovnsb-db="$OVN_SB" \
    --unixctl="$RUN/ovn/northd.ctl" -vfile:off -vsyslog:off
  until_up ovn-northd 20 test -S "$RUN/ovn/northd.ctl"
}
# The node's namespace, wired to the switch by eth0; the switch's end has the node's name.
node_netns() { # NAME
  [ -e "/run/netns/$1" ] || ip netns add "$1"
  ip -n "$1" link set lo up
  ! ip -n "$1" link show eth0 >/dev/null 2>&1 || return 0
  ip link add "$1" type veth peer name eth0 netns "$1"
  # OVS reads eth0 through AF_PACKET, which has no checksum offload
  ethtool -K "$1" tx off >/dev/null
  nsenter --net="/run/netns/$1" ethtool -K eth0 tx off >/dev/null
  ip link set "$1" master $SWITCH up
}
# Open vSwitch and ovn-controller of a node: what makes `binding:host_id=NAME` a port that is really bound.
start_chassis() { # NAME ADDRESS [OPTIONS] : for routers, too, where the options do not say otherwise
  local node=$1 address=$2 dir=$RUN/ovs-$1
  node_netns "$node"
  local in="nsenter --net=/run/netns/$node env OVS_RUNDIR=$dir OVN_RUNDIR=$dir OVS_DBDIR=$dir OVS_SYSCONFDIR=$dir OVS_LOGDIR=$STATE/log"
  local db=unix:$dir/db.sock
  local vsctl="ovs-vsctl --db=$db --no-wait"
  # shellcheck disable=SC2086 # $in is a list of words
  ovsdb "ovsdb-$node" "$DATA/ovs-$node.db" /usr/share/openvswitch/vswitch.ovsschema "${db#unix:}" $in
  if ! alive "ovs-vswitchd-$node"; then
    $vsctl init
    $vsctl set Open_vSwitch . external_ids:system-id="$node" external_ids:hostname="$node" \
      external_ids:ovn-remote="$OVN_SB" external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip="$address" \
      external_ids:ovn-bridge-datapath-type=netdev external_ids:ovn-monitor-all=true \
      external_ids:ovn-cms-options="${3-enable-chassis-as-gw}" other_config:n-handler-threads=1 other_config:n-revalidator-threads=1 \
      -- --may-exist add-br br-int \
      -- set Bridge br-int datapath_type=netdev fail_mode=secure other-config:disable-in-band=true
    # shellcheck disable=SC2086
    spawn "ovs-vswitchd-$node" "netns:$node" $in ovs-vswitchd $db --unixctl="$dir/vswitchd.ctl" -vfile:off -vsyslog:off
    no_ct_zero_snat "$node" "$db"
    br_phy "$node" "$address" "$db"
  fi
  # shellcheck disable=SC2086
  alive "ovn-controller-$node" || spawn "ovn-controller-$node" "netns:$node" $in ovn-controller $db -vfile:off -vsyslog:off
  until_up "ovn-controller-$node" 20 ovn-sbctl --db="$OVN_SB" --timeout=2 get Chassis "$node" name
}
# With "ct_zero_snat" OVN commits every connection with an all-zero SNAT. The userspace datapath of OVS 3.1.0 then
# aborts on the next packet of a connection that has expired but is not swept yet (assertion in conn_update_state).
# vswitchd writes the capability once, when it starts.
no_ct_zero_snat() { # NODE DB
  local vsctl="ovs-vsctl --db=$2 --no-wait" datapath
  datapath=$($vsctl --if-exists get Open_vSwitch . datapaths:netdev)
  [ -n "$datapath" ] || datapath=$($vsctl -- --id=@dp create Datapath datapath_version=0 -- set Open_vSwitch . datapaths:netdev=@dp)
  ovs-vsctl --db="$2" --timeout=20 wait-until Datapath "$datapath" capabilities:ct_zero_snat=true
  $vsctl set Datapath "$datapath" capabilities:ct_zero_snat=false
}
# eth0 becomes a port of br-phy, whose internal port takes the node's address: a userspace tunnel finds its way only
# through such a port.
br_phy() { # NODE ADDRESS DB
  # eth0's packets reach the kernel as well as OVS. With another MAC than br-phy's, no ARP and no address, the
  # kernel takes none of them.
  ip -n "$1" link set eth0 arp off addrgenmode none up
  # shellcheck disable=SC2046,SC2086 # four numbers
  ovs-vsctl --db="$3" --timeout=10 -- --may-exist add-br br-phy \
    -- set Bridge br-phy datapath_type=netdev fail_mode=standalone "other-config:hwaddr=$(printf '02:00:%02x:%02x:%02x:%02x' ${2//./ })" \
    -- --may-exist add-port br-phy eth0
  ip -n "$1" addr replace "$2/24" dev br-phy
  ip -n "$1" link set br-phy up
}
