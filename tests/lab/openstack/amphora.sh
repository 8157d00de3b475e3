# What Octavia's amphorae need of the lab (amphora/README.md); sourced by parts.sh.
AMPHORA_BRIDGE=amp0 AMPHORA_ADDRESS=10.201.0.1 # their management network, a bridge in the lab's namespace

# The authority that signs the certificates of amphorae, and the worker's own: agents talk to nobody else.
amphora_certificates() {
  local o=$RUN/octavia
  openssl req -x509 -newkey rsa:2048 -passout "pass:$PASSWORD" -days 3650 -subj /CN=lab-ca -keyout "$o/ca.key" -out "$o/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=lab-controller -keyout "$o/client.key" -out "$o/client.csr" 2>/dev/null
  openssl x509 -req -in "$o/client.csr" -CA "$o/ca.pem" -CAkey "$o/ca.key" -passin "pass:$PASSWORD" -days 3650 -out "$o/client.crt" 2>/dev/null
  cat "$o/client.crt" "$o/client.key" >"$o/client.pem"
}
amphora_bridge() {
  mkdir -p "$DATA/amphora"
  # a MAC of its own, as the nodes' switch
  ip link show $AMPHORA_BRIDGE >/dev/null 2>&1 || ip link add $AMPHORA_BRIDGE address 02:00:5e:00:01:01 type bridge
  ip addr replace $AMPHORA_ADDRESS/24 dev $AMPHORA_BRIDGE
  ip link set $AMPHORA_BRIDGE up
}
heartbeats_taken() { [ -n "$(ss -Hnlu "src $AMPHORA_ADDRESS:5555")" ]; }
