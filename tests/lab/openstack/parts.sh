# The parts of the OpenStack side; source me after lib.sh. Each start_X leaves a running X alone.
CONF=$LAB/openstack/conf
VENV=$CACHE/openstack/venv-$(key "$CONF"/{requirements,constraints}.txt)
PY=$VENV/bin/python
RUN=$STATE/openstack             # rendered configuration and work files of the services
KS_PORT=5000 NT_PORT=9696 OC_PORT=9876
DB_SOCK=$RUN/mariadb.sock
db_url() { echo "mysql+pymysql://root@localhost/$1?unix_socket=$DB_SOCK&charset=utf8mb3"; }
. "$LAB/openstack/ovn.sh"

configure() {
  mkdir -p "$RUN"/{etc,tmp,neutron/lock,octavia/certs}
  local DB_KEYSTONE DB_NEUTRON DB_OCTAVIA template
  DB_KEYSTONE=$(db_url keystone) DB_NEUTRON=$(db_url neutron) DB_OCTAVIA=$(db_url octavia)
  for template in "$CONF"/*.in; do
    render "$template" "$RUN/etc/$(basename "$template" .in)"
  done
  : >"$RUN/neutron/policy.yaml"
  : >"$RUN/octavia/policy.yaml"
  # what the certificates of amphorae are signed by
  openssl req -x509 -newkey rsa:2048 -passout "pass:$PASSWORD" -days 3650 -subj /CN=lab-ca \
    -keyout "$RUN/octavia/ca.key" -out "$RUN/octavia/ca.pem" 2>/dev/null
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
load_keystone() { serve keystone $KS_PORT 8 "$RUN/etc/keystone.conf"; }
start_keystone() {
  load_keystone
  until_up keystone 120 curl -sfm 3 http://127.0.0.1:$KS_PORT/v3
}
start_neutron() {
  serve neutron $NT_PORT 16 "$RUN/etc/neutron.conf" "$RUN/etc/ml2_conf.ini"
  until_up neutron 180 curl -sfm 3 http://127.0.0.1:$NT_PORT/
}
# The OVN provider's API side needs the sockets of its agent.
start_octavia() {
  alive octavia-agent || spawn octavia-agent "unix:$RUN/octavia" "$PY" "$CONF/serve.py" driver-agent "$RUN/octavia" "$RUN/etc/octavia.conf"
  until_up octavia-agent 120 test -S "$RUN/octavia/get.sock"
  serve octavia $OC_PORT 8 "$RUN/etc/octavia.conf"
  until_up octavia 180 curl -sfm 3 http://127.0.0.1:$OC_PORT/
}
