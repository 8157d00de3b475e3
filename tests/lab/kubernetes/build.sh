#!/bin/bash
# etcd, the control plane and kubectl as one executable from the Go modules that go.mod pins, kept in the cache.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$LAB/kubernetes/parts.sh"
[ ! -e "$BIN/.done" ] || exit 0
version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$LAB/kubernetes/go.mod")
plain=${version#v}
echo "building Kubernetes $version from its Go modules: ~7 min on two cores, the first time only"
package=k8s.io/component-base/version
mkdir -p "$BIN"
(cd "$LAB/kubernetes" && CGO_ENABLED=0 go build -trimpath -o "$BIN/../kubernetes" -ldflags "-s -w -X $package.gitVersion=$version \
  -X $package.gitMajor=${plain%%.*} -X $package.gitMinor=$(cut -d. -f2 <<<"$plain")" .)
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
  ln -sf ../kubernetes "$BIN/$name"
done
touch "$BIN/.done"
