//! What the demo made is taken away, and nothing else: a lab may be somebody's who tries things out.

use anyhow::{Result, ensure};

use super::{Demo, OPERATOR, PODS};

/// The modules that are shown.
const MODULES: &str = "pod-port route-l7policy";
/// Whether our kinds are there.
const HAS_CRDS: &str = "kubectl get crd cloudmappings.isthmus.dev policymodules.isthmus.dev >/dev/null 2>&1";
/// Takes our finalizer off an object of ours, which has no other.
const NO_FINALIZER: &str = r#"--type merge -p '{"metadata":{"finalizers":[]}}'"#;
/// Selects ConfigMaps of modules that are called as the demo's, and no kept versions.
const SOURCES: &str = "-l 'isthmus.dev/policy-module in (pod-port,route-l7policy)'";

impl Demo<'_> {
    /// As before the demo, however far an earlier run came. No operator runs meanwhile: what one would do for the Pods is done
    /// here, first in the cloud and then in Kubernetes, so that whatever ends this in between can be done again.
    ///
    /// # Errors
    /// Somebody else has modules of these names there: nothing is touched.
    pub(super) fn clean(&self) -> Result<()> {
        let theirs = self.ask(&of_others())?;
        ensure!(
            theirs.trim().is_empty(),
            "this is not the demo's, which loads modules of the same names: {}; delete it, or run the demo on another lab (ISTHMUS_LAB_NAME)",
            theirs.split_whitespace().collect::<Vec<_>>().join(", ")
        );
        for id in self.balancers()? {
            self.ask(&format!("openstack loadbalancer delete --cascade --wait {id}"))?;
        }
        for port in self.ports()? {
            self.ask(&format!("openstack port delete {}", port.id))?;
        }
        // No kubelet ends the Pods.
        self.ask(&format!("kubectl delete pods -n {PODS} --all --force --grace-period=0 --wait=false"))?;
        self.clean_agents()?;
        self.ask(&format!("kubectl delete namespace {PODS} --ignore-not-found --wait=false"))?;
        self.until(&format!("namespace {PODS} is gone"), &let_go(), |a| a == ".")?;
        // Before their PolicyModules, by which they are told from those of others.
        self.ask(&format!("kubectl delete configmap -n {OPERATOR} --ignore-not-found {SOURCES}"))?;
        let kept = SOURCES.replace("policy-module", "kept-module");
        self.ask(&format!("kubectl delete configmap -n {OPERATOR} --ignore-not-found {kept}"))?;
        // The mapping of the Routes' load balancer is that of its PolicyModule.
        let of_module = "{range .items[?(@.spec.subject.kind==\"PolicyModule\")]}{.spec.subject.name} {.metadata.name}{\"\\n\"}{end}";
        self.ask(&format!(
            "if {HAS_CRDS}; then kubectl get cloudmappings.isthmus.dev -n {OPERATOR} -o jsonpath='{of_module}' | awk '$1 == \"route-l7policy\" {{print $2}}' |
               xargs -r -n 1 kubectl patch -n {OPERATOR} cloudmappings.isthmus.dev {NO_FINALIZER}
             kubectl get policymodules.isthmus.dev {MODULES} -o name --ignore-not-found | xargs -r -n 1 kubectl patch {NO_FINALIZER}
             kubectl delete policymodules.isthmus.dev {MODULES} --ignore-not-found --wait=false; fi"
        ))
        .map(drop)
    }
}

/// Names what is called as the demo's modules, and is not the demo's: PolicyModules without its label, and ConfigMaps that have no
/// PolicyModule of it.
fn of_others() -> String {
    format!(
        "if {HAS_CRDS}; then
           of_demo=$(kubectl get policymodules.isthmus.dev -l isthmus.dev/demo=module -o name)
           for name in {MODULES}; do
             case \"$of_demo \" in *policymodule.isthmus.dev/$name[[:space:]]*) continue ;; esac
             kubectl get policymodules.isthmus.dev $name -o name --ignore-not-found
             kubectl get configmap -n {OPERATOR} -l isthmus.dev/policy-module=$name -o name
           done
         fi"
    )
}

/// Lets go of all CloudMappings, of which there may be more each time, and answers `.` alone once their namespace is gone: nothing
/// is no answer, as where the API server is away.
fn let_go() -> String {
    let mappings = format!("-n {PODS} cloudmappings.isthmus.dev -o name --ignore-not-found");
    format!(
        "if {HAS_CRDS}; then kubectl get {mappings} | xargs -r -n 1 kubectl patch -n {PODS} {NO_FINALIZER}; fi >/dev/null
         kubectl get namespace {PODS} -o name --ignore-not-found && echo ."
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::Command;

    use super::{let_go, of_others};

    /// Two CloudMappings, what the API server says of the namespace, and modules.
    const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
"get crd "*) ;;
"get -n isthmus-demo cloudmappings"*) printf 'cloudmapping.isthmus.dev/a\ncloudmapping.isthmus.dev/b\n' ;;
"get namespace "*) eval "$NAMESPACE" ;;
"get policymodules.isthmus.dev -l isthmus.dev/demo=module "*) printf "$OF_DEMO" ;;
"get policymodules.isthmus.dev pod-port "*) echo policymodule.isthmus.dev/pod-port ;;
"get policymodules.isthmus.dev route-l7policy "*) ;;
"get configmap -n isthmus-system -l isthmus.dev/policy-module=pod-port "*) echo configmap/pod-port ;;
"get configmap -n isthmus-system -l isthmus.dev/policy-module=route-l7policy "*) echo configmap/route-l7policy ;;
*) echo "$*" >>"$0.log" ;;
esac
"#;

    /// A folder with a kubectl as above, until it is dropped.
    struct Fake(PathBuf);

    impl Drop for Fake {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    impl Fake {
        fn new(test: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("xtask-{test}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let kubectl = folder.join("kubectl");
            fs::write(&kubectl, KUBECTL).unwrap();
            fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
            Self(folder)
        }

        /// What a command prints, with a variable for its kubectl.
        fn answer(&self, command: &str, variable: &str, value: &str) -> String {
            let path = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("bash");
            shell.args(["-o", "pipefail", "-c", command]).env("PATH", &path).env(variable, value);
            String::from_utf8(shell.output().unwrap().stdout).unwrap().trim().to_owned()
        }
    }

    #[test]
    fn finalizers_come_off_and_only_an_answer_counts_as_gone() {
        let fake = Fake::new("demo-gone");
        let table =
            [("echo namespace/isthmus-demo", "namespace/isthmus-demo\n."), ("exit 1", ""), ("exit 0", ".")];
        for (namespace, answer) in table {
            assert_eq!(fake.answer(&let_go(), "NAMESPACE", namespace), answer, "{namespace}");
        }
        let calls = fs::read_to_string(fake.0.join("kubectl.log")).unwrap();
        let patch = r#"patch -n isthmus-demo --type merge -p {"metadata":{"finalizers":[]}} cloudmapping.isthmus.dev/"#;
        assert_eq!(calls, format!("{patch}a\n{patch}b\n").repeat(3));
    }

    /// There are a PolicyModule `pod-port` with its ConfigMap, and the ConfigMap of a `route-l7policy`.
    #[test]
    fn modules_without_the_label_of_the_demo_are_of_others() {
        let fake = Fake::new("demo-others");
        let (ports, routes) =
            ("policymodule.isthmus.dev/pod-port", "policymodule.isthmus.dev/route-l7policy");
        let table = [
            (
                String::new(),
                "policymodule.isthmus.dev/pod-port\nconfigmap/pod-port\nconfigmap/route-l7policy",
            ),
            (format!("{ports}\n"), "configmap/route-l7policy"),
            (format!("{ports}-next\n{routes}\n"), "policymodule.isthmus.dev/pod-port\nconfigmap/pod-port"),
            (format!("{ports}\n{routes}\n"), ""),
        ];
        for (of_demo, others) in table {
            assert_eq!(fake.answer(&of_others(), "OF_DEMO", &of_demo), others, "{of_demo}");
        }
    }
}
