#!/bin/bash
# etcd, kube-apiserver, controller-manager, scheduler. Running parts are left as they are. Runs inside the namespace.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$LAB/kubernetes/parts.sh"

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
