//! `isthmus dev`: unmodified kubectl and openstack clients against the in-process world.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{dev_tools, scratch};
use tokio::process::Command;

/// Longest time for a script.
const LIMIT: Duration = Duration::from_secs(400);

/// Runs a shell script with the world's environment; what it printed. It ends at the first command that fails.
async fn on_dev(name: &str, port: u16, flags: &[&str], script: &str) -> Result<String> {
    let folder = scratch(name)?;
    let tools = dev_tools()?;
    let mut command = Command::new(&tools.isthmus);
    command.args(["dev", "--http", &format!("127.0.0.1:{port}"), "--folder"]).arg(folder.join("dev"));
    command.arg("--modules").arg(&tools.modules).args(flags);
    command.args(["--", "bash", "-euxo", "pipefail", "-c", script]).current_dir(&folder);
    command.env("ISTHMUS_OPERATOR", format!("127.0.0.1:{port}")).env("PATH", &tools.path);
    command.env("ISTHMUS", &tools.isthmus);
    command.env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("not in time")??;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{out}\n{err}", output.status);
    Ok(out.into_owned())
}

/// What clients do that know nothing of Isthmus. (No `grep -q`: it ends before it has read all, and who writes to it fails.)
#[tokio::test]
async fn kubectl_and_the_openstack_client_work_as_they_are() -> Result<()> {
    let script = r#"
kubectl version
kubectl get pods,services,routes,cloudmappings -n shop
[ "$(kubectl get pods -n shop -o name | wc -l)" = 3 ]
kubectl get cloudmappings -n shop --no-headers | awk '{print $0}' | tee mappings
[ "$(wc -l <mappings)" = 7 ]
kubectl describe pod web-0 -n shop | grep 'Node:'
kubectl create configmap settings --from-literal=a=1 -n shop
kubectl label configmap settings tier=front -n shop
kubectl annotate configmap settings note=hello -n shop
kubectl patch configmap settings -n shop --type=merge -p '{"data": {"b": "2"}}'
kubectl patch configmap settings -n shop --type=json -p '[{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "3"}]'
[ "$(kubectl get configmap settings -n shop -o jsonpath='{.data.a}{.data.b}')" = 32 ]
kubectl apply -n shop -f - <<<'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"x": "1", "y": "2"}}'
kubectl apply -n shop -f - <<<'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"x": "1"}}'
[ "$(kubectl get configmap applied -n shop -o jsonpath='{.data}')" = '{"x":"1"}' ]
"$ISTHMUS" crds | kubectl apply --server-side -f -
owned() { kubectl apply --server-side --field-manager="$1" -n shop -f - <<<'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"x": "'"$2"'"}}'; }
owned one 1
if owned two 2 2>conflict; then echo 'the field of another manager was taken'; exit 1; fi
grep 'conflict with "one"' conflict
kubectl delete configmap settings applied owned -n shop
if kubectl get configmap settings -n shop; then echo 'a deleted ConfigMap is there'; exit 1; fi
kubectl auth can-i list pods

openstack token issue -f value -c id | grep .
openstack network list -f value -c Name | grep -x pods
[ "$(openstack port list --device-owner isthmus:pod -f value -c Name | grep -c '^pod/shop/')" = 3 ]
openstack loadbalancer list -f value -c provisioning_status | grep -x ACTIVE
[ "$(openstack loadbalancer l7policy list -f value -c id | wc -l)" = 2 ]
openstack network create mine -f value -c id
openstack subnet create mine-v4 --network mine --subnet-range 192.168.7.0/24 -f value -c gateway_ip | grep -x 192.168.7.1
openstack port create --network mine p1 -f value -c fixed_ips
before=$(openstack port show p1 -f value -c revision_number)
openstack port set --name p1 --description changed p1
[ "$(openstack port show p1 -f value -c revision_number)" -gt "$before" ]
openstack quota show -f value | grep .
openstack loadbalancer create --name lb --vip-subnet-id mine-v4 --wait -f value -c provisioning_status | grep -x ACTIVE
openstack loadbalancer listener create --name li --protocol TCP --protocol-port 80 --wait lb -f value -c provisioning_status | grep -x ACTIVE
openstack loadbalancer delete --cascade --wait lb
[ -z "$(openstack loadbalancer listener list -f value -c name | grep -x li || true)" ]
if openstack network delete mine; then echo 'a network with a port was deleted'; exit 1; fi
openstack port delete p1
openstack network delete mine

kubectl delete pod web-0 -n shop
for i in $(seq 100); do
  [ "$(openstack port list --device-owner isthmus:pod -f value -c Name | grep -c '^pod/shop/')" != 2 ] || break
done
[ "$(openstack port list --device-owner isthmus:pod -f value -c Name | grep -c '^pod/shop/')" = 2 ]
kubectl delete namespace shop
if kubectl get namespace shop; then echo 'a deleted namespace is there'; exit 1; fi
curl -sf "http://$ISTHMUS_OPERATOR/readyz"
"#;
    on_dev("clients", 9461, &[], script).await.map(drop)
}

/// Bad arguments are told.
#[tokio::test]
async fn what_is_wrong_is_said() -> Result<()> {
    let tools = dev_tools()?;
    let folder = scratch("wrong")?;
    let fails = async |arguments: &[&str], expected: &str| -> Result<()> {
        let output =
            Command::new(&tools.isthmus).arg("dev").args(arguments).current_dir(&folder).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
        Ok(())
    };
    let modules = tools.modules.to_str().context("a folder's name is text")?;
    fails(&["--modules", "/nonexistent"], "expected pod-port.wasm, namespace-network.wasm").await?;
    let own = ["--modules", modules, "--folder", "x", "--http", "127.0.0.1:9463"];
    fails(&[&own[..], &["--", "false"]].concat(), "false ended with").await?;
    fails(&[&own[..], &["--kubernetes", "192.0.2.1:1"]].concat(), "serving the Kubernetes API").await
}
