#!/bin/bash
# The "boot" of one amphora, first process of its pid namespace (lab_amphora.py starts it).
# usage: boot.sh DIR PIDFILE ADDRESS HOSTNAME.   Gives it files of its own where octavia's paths are
# fixed, changing nothing outside, then becomes init.py.  VENV is in the environment.
set -euo pipefail
dir=$1 pidfile=$2 address=$3 name=$4
here=$(cd "$(dirname "$0")" && pwd)
exec >>$dir/log/boot.log 2>&1 </dev/null
# /proc is still the outer one: this is the pid that others see
read -r stat < /proc/self/stat
set -- ${stat##*) }
echo "${stat%% *} ${20} https://$address:9443" >$pidfile.new
mv $pidfile.new $pidfile
mount --make-rprivate /
ro() { mount -t overlay overlay -o ro,lowerdir=$1:$2 $2; }   # what is in $1, and $2 below it
ro $dir/etc /etc
ro $dir/lib /var/lib
ro $here/bin /usr/local/bin                   # lvs-masquerade.sh is called by its full path
mount --bind $dir/etc/octavia /etc/octavia
mount --bind $dir/lib/octavia /var/lib/octavia
mount --bind $dir/log /var/log
mount -t tmpfs tmpfs /usr/lib/systemd/system
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/units /run/rsyslog/octavia
mount -t proc proc /proc
# octavia gives two fifths of the free memory to haproxy's TLS session cache: have as much as a
# small virtual machine, not the whole machine
awk '/^MemTotal/ {$2 = 1048576} /^(MemFree|MemAvailable)/ {$2 = 262144} /^(Buffers|Cached)/ {$2 = 0} {print}' \
  /proc/meminfo > $dir/meminfo
mount --bind $dir/meminfo /proc/meminfo
hostname $name
# the agent would make it itself; without duplicate address detection its interfaces are up 1 to 2 s earlier
ip netns add amphora-haproxy
ip netns exec amphora-haproxy sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
# a machine without CAP_SYS_RESOURCE has too few file descriptors for maxconn 50000; start all the same
printf 'global\n    group nogroup\n    no strict-limits\n' > /var/lib/octavia/haproxy-default-user-group.conf
export PATH=$here/bin:$VENV/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=$dir/tmp HOME=$dir/tmp
cd /                          # the agent names the syslog socket by a path relative to /
exec $VENV/bin/python -S -E $here/init.py
