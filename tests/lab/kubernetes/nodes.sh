# The nodes that run Pods, as one part, `nodes`: a chassis each with a containerd and a kubelet of its own, in one network namespace.
# They are NotReady until somebody puts a network configuration into $STATE/NODE/cni/net.d and its plugin into cni/bin; a
# kubelet reaches Pods by a leg, a Neutron port of the network `pods`. Source me after both parts.sh.
KUBE_NODES="kube1=10.200.0.21 kube2=10.200.0.22"
[ -z "${ISTHMUS_LAB_NAME-}" ] || KUBE_NODES="$ISTHMUS_LAB_NAME-kube1=10.200.0.21 $ISTHMUS_LAB_NAME-kube2=10.200.0.22"
IMAGES=$CACHE/kubernetes/images-$(key "$LAB/kubernetes/image.py" /bin/busybox)
LEG=nodenet

# localhost/pause and localhost/busybox: nothing comes from a registry.
make_images() {
  [ ! -e "$IMAGES/busybox.tar" ] || return 0
  mkdir -p "$IMAGES"
  local applets=() a
  for a in $(busybox --list); do [ "$a" = busybox ] || applets+=("bin/$a@busybox"); done
  "$PY" "$LAB/kubernetes/image.py" "$IMAGES/pause.tar" localhost/pause:1 '["/bin/sleep", "infinity"]' bin/sleep=/bin/busybox
  "$PY" "$LAB/kubernetes/image.py" "$IMAGES/new" localhost/busybox:1 '["/bin/sh"]' bin/busybox=/bin/busybox "${applets[@]}"
  mv "$IMAGES/new" "$IMAGES/busybox.tar"
}
start_nodes() {
  local node pids=() pid
  make_images
  for node in $KUBE_NODES; do
    start_node "${node%=*}" "${node#*=}" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}
start_node() { # NAME ADDRESS
  start_chassis "$1" "$2" none
  # for the look-up of a ClusterIP
  ip -n "$1" route show default | grep -q . || ip -n "$1" route add default via $SWITCH_ADDRESS
  leg "$1"
  start_containerd "$1"
  start_kubelet "$1" "$2"
}
# The node's own leg on a Neutron network, as one has that is an instance of Nova: else no probe reaches a Pod.
leg() { # NODE
  local id mac cidr
  read -r id mac cidr < <("$PY" "$CONF/seed.py" leg $KS_PORT $PASSWORD neutron=$NT_PORT "node=$1")
  ovs-vsctl --db="unix:$RUN/ovs-$1/db.sock" --timeout=10 -- --may-exist add-port br-int $LEG \
    -- set Interface $LEG type=internal "mac=\"$mac\"" external_ids:iface-id="$id" \
    "external_ids:attached-mac=\"$mac\"" external_ids:iface-status=active
  ip -n "$1" addr replace "$cidr" dev $LEG
  ip -n "$1" link set $LEG mtu 1442 up
  # OVS reads it through AF_PACKET, which has no checksum offload
  nsenter --net="/run/netns/$1" ethtool -K $LEG tx off >/dev/null
}
start_containerd() { # NODE
  local d=$STATE/$1 image
  mkdir -p "$d/cni/bin" "$d/cni/net.d"
  ln -sf /usr/lib/cni/loopback "$d/cni/bin/loopback"
  cat >"$d/containerd.toml" <<K
version = 2
root = "$d/containerd"
state = "$d/containerd-state"
[grpc]
  address = "$d/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  # a container may not have CAP_SYS_RESOURCE
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$d/cni/bin"
    conf_dir = "$d/cni/net.d"
K
  alive "containerd-$1" || spawn "containerd-$1" "unix:$d/containerd.sock" nsenter --net="/run/netns/$1" containerd -c "$d/containerd.toml"
  until_up "containerd-$1" 30 ctr -a "$d/containerd.sock" version
  for image in pause busybox; do ctr -a "$d/containerd.sock" -n k8s.io image import "$IMAGES/$image.tar" >/dev/null; done
}
cgroups() { # NODE : a kubelet removes cgroups of Pods that it does not know, so each has a root of its own, in every hierarchy
  local c
  for c in /sys/fs/cgroup/*/; do
    [ ! -e "$c/cgroup.procs" ] || ! mkdir -p "$c/$NETNS-$1" 2>/dev/null || {
      [ ! -e "$c/$NETNS-$1/cpuset.cpus" ] || { cat "$c/cpuset.cpus" >"$c/$NETNS-$1/cpuset.cpus"; cat "$c/cpuset.mems" >"$c/$NETNS-$1/cpuset.mems"; }
    }
  done
}
start_kubelet() { # NODE ADDRESS
  local d=$STATE/$1
  mkdir -p "$d/manifests"
  cgroups "$1"
  cert "kubelet-$1" "/O=system:nodes/CN=system:node:$1" extendedKeyUsage=clientAuth
  kubeconfig "kubelet-$1"
  cat >"$d/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $2
readOnlyPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
containerRuntimeEndpoint: unix://$d/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NETNS-$1
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
clusterDomain: cluster.local
resolvConf: ""
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "50Mi", nodefs.available: "1%", imagefs.available: "1%"}
staticPodPath: $d/manifests
fileCheckFrequency: 2s
podLogsDir: $d/pod-logs
volumePluginDir: $d/volume-plugins
K
  alive "kubelet-$1" || spawn "kubelet-$1" "https://$2:10250" nsenter --net="/run/netns/$1" env -i PATH="$PATH" HOME="$d" \
    "$BIN/kubelet" --config "$d/kubelet.yaml" --kubeconfig "$STATE/kubelet-$1.conf" --hostname-override "$1" --node-ip "$2" \
    --root-dir "$d/kubelet" --cert-dir "$d/kubelet-pki"
  until_up "kubelet-$1" 60 k get node "$1"
}
# Takes its chassis out of OVN: a signal would leave it there.
leave_ovn() { # NODE
  local pid _
  alive "ovn-controller-$1" || return 0
  read -r pid _ <"$STATE/pid/ovn-controller-$1"
  ovs-appctl --timeout=5 -t "$RUN/ovs-$1/ovn-controller.$pid.ctl" exit || return 0
  for _ in $(seq 100); do
    alive "ovn-controller-$1" || break
    sleep .05
  done
}
stop_nodes() {
  local node
  for node in $KUBE_NODES; do stop_node "${node%=*}" & done
  wait
}
# With all that runs on it; nothing of it is left, also not in Kubernetes and Neutron where these run.
stop_node() { # NAME
  local d=$STATE/$1 part
  [ -e "$d" ] || return 0
  stop "kubelet-$1"
  find /sys/fs/cgroup -path "*/$NETNS-$1*" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
  pgrep -f "containerd-shim.* -address $d/containerd.sock" | xargs -r kill -KILL 2>/dev/null || true
  stop "containerd-$1" KILL
  leave_ovn "$1"
  for part in ovn-controller ovs-vswitchd ovsdb; do stop "$part-$1"; done
  awk -v d="$d/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null || true
  find /sys/fs/cgroup -depth -type d -path "*/$NETNS-$1*" -exec rmdir {} + 2>/dev/null || true
  ! alive apiserver || k delete node "$1" --ignore-not-found >/dev/null || true
  ! alive neutron || "$PY" "$CONF/seed.py" no-leg $KS_PORT $PASSWORD neutron=$NT_PORT "node=$1" || true
  ip netns del "$1" 2>/dev/null || true
  rm -rf "$d" "$RUN/ovs-$1" "$DATA/ovs-$1.db"
}
