# prepare SNAPSHOT : once, migrate the databases with the services' own tools, bootstrap Keystone, make users and
# endpoints, and keep the data files and keys as SNAPSHOT. Source me after parts.sh.
prepare() {
  local snapshot=$1 log=$STATE/log/prepare.log d neutron_migration keystone url=http://127.0.0.1:$KS_PORT/v3
  rm -rf "$snapshot" "$snapshot.new" "$DATA/mariadb" "$DATA/keystone"
  mariadb-install-db --no-defaults --user=root --datadir="$DATA/mariadb" --auth-root-authentication-method=normal \
    --skip-test-db --skip-name-resolve --innodb-log-file-size=32M >"$log" 2>&1
  start_mariadb
  for d in keystone neutron octavia barbican; do
    mysql -S "$DB_SOCK" -e "create database $d character set utf8mb3"
  done
  "$VENV/bin/neutron-db-manage" --config-file "$RUN/etc/neutron.conf" --config-file "$RUN/etc/ml2_conf.ini" upgrade heads >>"$log" 2>&1 &
  neutron_migration=$!
  keystone="$VENV/bin/keystone-manage --config-file $RUN/etc/keystone.conf"
  $keystone db_sync >>"$log" 2>&1
  $keystone fernet_setup --keystone-user root --keystone-group root >>"$log" 2>&1
  $keystone bootstrap --bootstrap-password $PASSWORD --bootstrap-region-id RegionOne --bootstrap-admin-url $url \
    --bootstrap-public-url $url --bootstrap-internal-url $url >>"$log" 2>&1
  "$VENV/bin/octavia-db-manage" --config-file "$RUN/etc/octavia.conf" upgrade head >>"$log" 2>&1
  "$VENV/bin/barbican-manage" db upgrade -d "$(db_url barbican)" >>"$log" 2>&1
  wait $neutron_migration
  start_keystone
  "$PY" "$CONF/seed.py" identity $KS_PORT $PASSWORD neutron=$NT_PORT octavia=$OC_PORT barbican=$BB_PORT
  stop keystone
  mysql -S "$DB_SOCK" -e 'set global innodb_fast_shutdown=0'
  stop mariadb
  mkdir -p "$snapshot.new"
  cp -a "$DATA/mariadb" "$DATA/keystone" "$snapshot.new/"
  mv "$snapshot.new" "$snapshot"
}
