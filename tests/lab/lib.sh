# Settings and process helpers of the lab; source me. `cargo xtask lab` is what calls these scripts.
LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=$HOME/.cache/isthmus-lab   # what is made once; each folder is named by the hash of what it was made from
# A second lab beside the first, with nodes of its own: ISTHMUS_LAB_NAME=two. A node's name is an interface's too (15 characters).
[[ ${ISTHMUS_LAB_NAME-} =~ ^[a-z0-9]{0,9}$ ]] || { echo "ISTHMUS_LAB_NAME: at most 9 of a-z and 0-9" >&2; exit 1; }
NETNS=isthmus-lab${ISTHMUS_LAB_NAME:+-$ISTHMUS_LAB_NAME} # loopback, and the switch that nodes hang on; no way out
STATE=/run/$NETNS                # pid files, logs, keys, configuration: gone after `lab down`
DATA=/dev/shm/$NETNS             # the databases of etcd, MariaDB and OVN: memory, so no fsync costs anything
SWITCH=sw0
SWITCH_ADDRESS=10.200.0.1        # the API server's address for nodes
NODES=${NODES-${ISTHMUS_LAB_NAME:+$ISTHMUS_LAB_NAME-}node1=10.200.0.11} # chassis: name (also of its netns and binding:host_id) = address
PASSWORD=labpass

# Start time of a process in clock ticks: tells a reused pid. Fails for a zombie: it is as dead as can be.
born() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # the name in parentheses may hold blanks; field 3 (state) comes first after it
  set -- ${stat##*) }
  [ "$1" != Z ] && echo "${20}"
}
# Closes what the caller has open beyond standard output and error: a lock that a daemon holds is never free again, and who
# reads a pipe to its end waits for as long as the daemon lives. 255 is bash's own, and it closes that itself.
close_files() {
  local fd
  for fd in "/proc/$BASHPID/fd/"*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || [ "$fd" -eq 255 ] || eval "exec $fd>&-"
  done
}
# spawn PART ADDRESS COMMAND... : a session of its own, so that the whole part can be signalled
spawn() {
  local part=$1 address=$2 pid
  shift 2
  (close_files && exec setsid "$@") >>"$STATE/log/$part.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(born $pid || echo 0) $address" >"$STATE/pid/$part.new"
  mv "$STATE/pid/$part.new" "$STATE/pid/$part"
}
alive() {
  local pid start _
  [ -e "$STATE/pid/$1" ] && read -r pid start _ <"$STATE/pid/$1" && [ "$(born "$pid")" = "$start" ]
}
# until_up PART SECONDS COMMAND... : poll; fail at once when the process is gone
until_up() {
  local part=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$part" || { echo "$part died:"; tail -15 "$STATE/log/$part.log"; return 1; } >&2
    [ $SECONDS -lt $end ] || { echo "$part is not up in time, see $STATE/log/$part.log"; return 1; } >&2
    sleep .05
  done
  alive "$part" || { echo "$part is dead and something else answers in its place"; return 1; } >&2
}
# stop PART [KILL] : TERM, and KILL to the whole session after 8 s; with KILL at once, as in a crash
stop() {
  local pid
  if alive "$1"; then
    read -r pid _ <"$STATE/pid/$1"
    [ "${2-}" = KILL ] || kill "$pid" 2>/dev/null || true
    local i
    for i in $(seq 160); do
      [ "${2-}" != KILL ] && alive "$1" || break
      sleep .05
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
    while alive "$1"; do sleep .02; done
  fi
  rm -f "$STATE/pid/$1"
}
# delete_netns NAME : with the processes in it
delete_netns() {
  [ -e "/run/netns/$1" ] || return 0
  ip netns pids "$1" | xargs -r kill -KILL 2>/dev/null || true
  ip netns del "$1" || true
}
# render TEMPLATE OUT : replace @NAME@ with the shell variable NAME
render() {
  local out name value
  out=$(cat "$1")
  for name in $(grep -o '@[A-Z0-9_]*@' "$1" | sort -u | tr -d @); do
    value=${!name?"$name is unset, $1 needs it"}
    out=${out//"@$name@"/"$value"}
  done
  printf '%s\n' "$out" >"$2"
}
# key FILE... : names a cache folder by content
key() { cat "$@" | sha256sum | cut -c1-16; }
