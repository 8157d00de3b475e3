#!/bin/bash
# Debian packages of the lab, and those that are named besides; with --only, these alone. Does nothing where they are installed.
set -euo pipefail
need=
if [ "${1-}" = --only ]; then
  shift
else
  set -- containerd runc containernetworking-plugins busybox-static ovn-central ovn-host openvswitch-switch mariadb-server-core \
    mariadb-client-core ethtool iproute2 openssl curl procps strace util-linux user-mode-linux kmod "$@"
  python3.11 -c 'import ensurepip, venv' 2>/dev/null || need="$need python3.11 python3.11-venv"
fi
for p in "$@"; do
  dpkg -s "$p" >/dev/null 2>&1 || need="$need $p"
done
[ -n "$need" ] || exit 0
echo "installing$need"
# policy-rc.d 101: the packages must not start their daemons; the lab starts its own, in its namespace
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=120 update
# shellcheck disable=SC2086 # a list of words
apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $need >/dev/null
