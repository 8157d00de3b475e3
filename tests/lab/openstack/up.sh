#!/bin/bash
# MariaDB, OVN, the chassis, Keystone and Neutron; "up.sh octavia" starts Octavia and Barbican too. Running parts are left as they are.
# Everything listens on the loopback of the namespace that this runs inside.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$LAB/openstack/parts.sh"
. "$LAB/openstack/prepare.sh"

if [ ! -e "$RUN/.configured" ]; then
  # a start that was cut short may have left them
  stop keystone
  stop mariadb
  configure
  snapshot=$CACHE/openstack/database-$(
    (mariadbd --version; echo $KS_PORT $NT_PORT $OC_PORT $BB_PORT $PASSWORD) | key - "$CONF"/{constraints.txt,seed.py,keystone.conf.in} "$LAB/openstack/prepare.sh")
  if [ ! -e "$snapshot" ]; then
    echo "migrating the databases of Keystone, Neutron, Octavia and Barbican: ~30 s, the first time only"
    prepare "$snapshot"
  fi
  rm -rf "$DATA/mariadb" "$DATA/keystone"
  cp -a "$snapshot/." "$DATA/"
  touch "$RUN/.configured"
fi
cat >"$STATE/clouds.yaml" <<C
clouds:
$(for user in isthmus demo admin; do
  project=demo
  [ $user != admin ] || project=admin
  cat <<U
  $user:
    auth: {auth_url: "http://127.0.0.1:$KS_PORT/v3", username: $user, password: $PASSWORD, project_name: $project, user_domain_name: Default, project_domain_name: Default}
    region_name: RegionOne
    identity_api_version: 3
U
done)
C
chmod 600 "$STATE/clouds.yaml"
ln -sf "$VENV/bin/openstack" "$STATE/bin/openstack"
printf '#!/bin/sh\nISTHMUS_LAB_NAME=%s exec bash %q "$@"\n' "${ISTHMUS_LAB_NAME-}" "$LAB/openstack/pod.sh" >"$STATE/bin/pod"
chmod 755 "$STATE/bin/pod"

alive neutron || echo "starting MariaDB, OVN, Keystone and Neutron (~10 s)"
start_mariadb
start_ovn
# Python takes seconds to load: what does not need another goes on beside the rest
load_keystone
if [ "${1-}" = octavia ]; then
  alive octavia || echo "starting Octavia and Barbican with them (~15 s)"
  load_octavia
fi
for node in $NODES; do start_chassis "${node%=*}" "${node#*=}"; done
load_neutron
[ "${1-}" != octavia ] || load_barbican
start_neutron
start_keystone
if [ "${1-}" = octavia ]; then
  start_octavia
  start_barbican
fi
"$PY" "$CONF/seed.py" network $KS_PORT $PASSWORD neutron=$NT_PORT
echo "OpenStack is up"
