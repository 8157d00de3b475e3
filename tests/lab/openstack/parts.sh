# The parts of the OpenStack side; source me after lib.sh. Each start_X leaves a running X alone.
CONF=$LAB/openstack/conf
VENV=$CACHE/openstack/venv-$(key "$CONF"/{requirements,constraints}.txt)
PY=$VENV/bin/python
RUN=$STATE/openstack             # rendered configuration and work files of the services
KS_PORT=5000 NT_PORT=9696 OC_PORT=9876 BB_PORT=9311
DB_SOCK=$RUN/mariadb.sock
db_url() { echo "mysql+pymysql://root@localhost/$1?unix_socket=$DB_SOCK&charset=utf8mb3"; }
. "$LAB/openstack/ovn.sh"
. "$LAB/openstack/amphora.sh"

configure() {
  mkdir -p "$RUN"/{etc,tmp,neutron/lock,octavia}
  local DB_KEYSTONE DB_NEUTRON DB_OCTAVIA DB_BARBICAN NODE=${NODES%%=*} template
  DB_KEYSTONE=$(db_url keystone) DB_NEUTRON=$(db_url neutron) DB_OCTAVIA=$(db_url octavia) DB_BARBICAN=$(db_url barbican)
  for template in "$CONF"/*.in; do
    render "$template" "$RUN/etc/$(basename "$template" .in)"
  done
  : >"$RUN/neutron/policy.yaml"
  : >"$RUN/octavia/policy.yaml"
  amphora_certificates
}
start_mariadb() {
  alive mariadb || spawn mariadb "unix:$DB_SOCK" mariadbd --no-defaults --user=root --datadir="$DATA/mariadb" \
    --socket="$DB_SOCK" --pid-file="$RUN/mariadb.pid" --tmpdir="$RUN/tmp" \
    --skip-networking --skip-grant-tables --skip-log-bin --max-connections=300 --performance-schema=off \
    --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync \
    --innodb-log-file-size=32M --innodb-buffer-pool-size=128M --sync-frm=0
  until_up mariadb 30 mysql -S "$DB_SOCK" -e 'select 1'
}
# TMPDIR: Neutron leaves files named by its parent's pid there
serve() { # PART PORT THREADS CONFIG...
  local part=$1 port=$2
  shift
  alive "$part" || spawn "$part" "http://127.0.0.1:$port" env TMPDIR="$RUN/tmp" "$PY" "$CONF/serve.py" "$part" "$@"
}
# load_X starts X and does not wait for it; start_X waits.
load_keystone() { serve keystone $KS_PORT 8 "$RUN/etc/keystone.conf"; }
start_keystone() {
  load_keystone
  until_up keystone 120 curl -sfm 3 http://127.0.0.1:$KS_PORT/v3
}
load_neutron() { serve neutron $NT_PORT 16 "$RUN/etc/neutron.conf" "$RUN/etc/ml2_conf.ini"; }
start_neutron() {
  load_neutron
  until_up neutron 180 curl -sfm 3 http://127.0.0.1:$NT_PORT/
}
load_barbican() { serve barbican $BB_PORT 4 "$RUN/etc/barbican.conf"; }
start_barbican() {
  load_barbican
  until_up barbican 120 curl -sfm 3 http://127.0.0.1:$BB_PORT/healthcheck
}
octavia_process() { # PART ADDRESS ARGUMENT...
  local part=$1 address=$2
  shift 2
  # the drivers of the lab's own are found by their entry points
  alive "$part" || PYTHONPATH=$LAB/openstack/amphora/py PYTHONDONTWRITEBYTECODE=1 \
    spawn "$part" "$address" env TMPDIR="$RUN/tmp" "$PY" "$CONF/serve.py" "$@"
}
load_octavia() {
  amphora_bridge
  octavia_process octavia-agent "unix:$RUN/octavia" driver-agent "$RUN/octavia" "$RUN/etc/octavia.conf"
  octavia_process octavia "http://127.0.0.1:$OC_PORT" octavia $OC_PORT 8 "$RUN/etc/octavia.conf"
  # takes the amphorae's heartbeats: operating status, statistics, failover
  octavia_process octavia-health "udp:$AMPHORA_ADDRESS:5555" health-manager "$RUN/etc/octavia.conf"
}
start_octavia() {
  load_octavia
  until_up octavia-agent 120 test -S "$RUN/octavia/get.sock"
  until_up octavia 180 curl -sfm 3 http://127.0.0.1:$OC_PORT/
  until_up octavia-health 120 heartbeats_taken
}
