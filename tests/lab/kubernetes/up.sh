#!/bin/bash
# etcd, kube-apiserver, controller-manager, scheduler. Running parts are left as they are. Runs inside the namespace.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$LAB/kubernetes/parts.sh"

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

mkdir -p "$PKI"
if [ ! -e "$PKI/ca.crt" ]; then
  new_key "$PKI/ca.key"
  openssl req -x509 -new -key "$PKI/ca.key" -days 365 -out "$PKI/ca.crt" -subj /CN=lab-ca
fi
cert apiserver /CN=kube-apiserver "subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$SWITCH_ADDRESS,IP:10.96.0.1
extendedKeyUsage=serverAuth"
client=extendedKeyUsage=clientAuth
cert admin /O=system:masters/CN=admin $client
cert controllers /CN=system:kube-controller-manager $client
cert scheduler /CN=system:kube-scheduler $client
[ -e "$PKI/sa.key" ] || new_key "$PKI/sa.key"
for user in admin controllers scheduler; do
  [ -e "$STATE/$user.conf" ] || kubeconfig $user
done
ln -sf "$BIN/kubectl" "$STATE/bin/kubectl"

alive apiserver || echo "starting etcd and kube-apiserver (5-10 s)"
start_etcd
start_apiserver
alive controllers || echo "kube-apiserver answers; starting controller-manager and scheduler"
start_controllers
start_scheduler
until_up controllers 90 k get serviceaccount default
echo "Kubernetes is up"
