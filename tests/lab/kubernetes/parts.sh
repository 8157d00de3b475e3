# The parts of the Kubernetes control plane; source me after lib.sh. Each start_X leaves a running X alone.
BIN=$CACHE/kubernetes/$(key "$LAB"/kubernetes/{go.mod,go.sum,main.go})/bin
PKI=$STATE/pki
ETCD=http://127.0.0.1:2379
k() { "$BIN/kubectl" --kubeconfig "$STATE/admin.conf" "$@"; }
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }
cert() { # NAME SUBJECT EXTENSIONS
  [ ! -e "$PKI/$1.crt" ] || return 0
  new_key "$PKI/$1.key"
  openssl req -new -key "$PKI/$1.key" -out "$PKI/$1.csr" -subj "$2"
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 365 \
    -out "$PKI/$1.crt" -extfile <(printf '%s\n' "$3") 2>/dev/null
}
kubeconfig() { # USER : $STATE/USER.conf
  cat >"$STATE/$1.conf" <<K
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://$SWITCH_ADDRESS:6443", certificate-authority: $PKI/ca.crt}}]
users: [{name: $1, user: {client-certificate: $PKI/$1.crt, client-key: $PKI/$1.key}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
current-context: lab
K
}

start_etcd() {
  alive etcd || spawn etcd $ETCD "$BIN/etcd" --name lab --data-dir "$DATA/etcd" --unsafe-no-fsync \
    --listen-client-urls $ETCD --advertise-client-urls $ETCD --listen-peer-urls http://127.0.0.1:2380 \
    --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster lab=http://127.0.0.1:2380
  until_up etcd 30 curl -sfm 3 $ETCD/health
}
start_apiserver() {
  # no endpoint reconciler: `default/kubernetes` has no endpoint; a pod would reach the API server by $SWITCH_ADDRESS
  alive apiserver || spawn apiserver https://$SWITCH_ADDRESS:6443 "$BIN/kube-apiserver" --etcd-servers=$ETCD \
    --bind-address=0.0.0.0 --advertise-address=$SWITCH_ADDRESS --secure-port=6443 --endpoint-reconciler-type=none \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
    --kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" --kubelet-preferred-address-types=InternalIP \
    --service-cluster-ip-range=10.96.0.0/16,fd00:96::/112 --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$PKI/sa.key" --service-account-signing-key-file="$PKI/sa.key"
  until_up apiserver 90 k get --raw /readyz
}
start_controllers() {
  alive controllers || spawn controllers 127.0.0.1:10257 "$BIN/kube-controller-manager" --kubeconfig="$STATE/controllers.conf" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key"
  until_up controllers 90 curl -sfkm 3 https://127.0.0.1:10257/healthz
}
start_scheduler() {
  alive scheduler || spawn scheduler 127.0.0.1:10259 "$BIN/kube-scheduler" --kubeconfig="$STATE/scheduler.conf" \
    --bind-address=127.0.0.1 --leader-elect=false
  until_up scheduler 90 curl -sfkm 3 https://127.0.0.1:10259/healthz
}
