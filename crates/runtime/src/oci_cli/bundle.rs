//! Reading a foreign bundle: understood whole, or refused by the name of what is not.
//!
//! Properties the specification does not know are ignored, as it demands; those it knows and this runtime does not do
//! are refused unless they are empty.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::init::program::resource;
use crate::init::{During, Failure, options, rights};
use crate::oci::{Process, Spec};
use crate::record::names;

/// Known to the specification, not to this runtime. `*` stands for each element of a list.
const UNSUPPORTED: &[&str] = &[
    "windows",
    "solaris",
    "vm",
    "zos",
    "freebsd",
    "process.apparmorProfile",
    "process.selinuxLabel",
    "process.scheduler",
    "process.ioPriority",
    "process.execCPUAffinity",
    "process.commandLine",
    "hooks.createContainer",
    "hooks.startContainer",
    "mounts.*.uidMappings",
    "mounts.*.gidMappings",
    "linux.intelRdt",
    "linux.personality",
    "linux.mountLabel",
    "linux.timeOffsets",
    "linux.netDevices",
    "linux.memoryPolicy",
    "linux.resources.network",
    "linux.resources.rdma",
    "linux.resources.hugepageLimits",
    "linux.resources.blockIO",
    "linux.resources.unified",
    "linux.resources.memory.kernel",
    "linux.resources.memory.kernelTCP",
    "linux.resources.memory.swappiness",
    "linux.resources.memory.disableOOMKiller",
    "linux.resources.memory.checkBeforeUpdate",
    "linux.resources.cpu.burst",
    "linux.resources.cpu.realtimeRuntime",
    "linux.resources.cpu.realtimePeriod",
    "linux.resources.cpu.cpus",
    "linux.resources.cpu.mems",
    "linux.resources.cpu.idle",
    "linux.seccomp.listenerPath",
    "linux.seccomp.listenerMetadata",
];

/// Kinds of namespaces.
const NAMESPACES: [&str; 7] = ["user", "pid", "mount", "network", "ipc", "uts", "cgroup"];

/// Which namespace a kernel setting belongs to, by how its name begins.
const SETTINGS: &[(&str, &str)] = &[
    ("net.", "network"),
    ("fs.mqueue.", "ipc"),
    ("kernel.msg", "ipc"),
    ("kernel.sem", "ipc"),
    ("kernel.shm", "ipc"),
    ("kernel.hostname", "uts"),
    ("kernel.domainname", "uts"),
];

/// Reads and judges the bundle in `dir`.
pub fn read(dir: &Path) -> Result<Spec, Failure> {
    let path = dir.join(names::CONFIG);
    let text = fs::read(&path).during(format!("read {}", path.display()))?;
    let mut spec: Spec = parse(&text, "", &path.display().to_string())?;
    if !spec.root.path.is_absolute() {
        spec.root.path = dir.join(&spec.root.path);
    }
    check(&spec)?;
    Ok(spec)
}

/// Reads and judges a `process` object of its own, for `exec`.
pub fn read_process(path: &Path) -> Result<Process, Failure> {
    let text = fs::read(path).during(format!("read {}", path.display()))?;
    let process: Process = parse(&text, "process.", &path.display().to_string())?;
    check_process(&process)?;
    Ok(process)
}

fn parse<T: serde::de::DeserializeOwned>(text: &[u8], below: &str, name: &str) -> Result<T, Failure> {
    let step = || format!("parse {name}");
    let mut value: Value = serde_json::from_slice(text)
        .map_err(std::io::Error::from)
        .during(step())?;
    strip(&mut value);
    for path in UNSUPPORTED.iter().filter_map(|path| path.strip_prefix(below)) {
        if asks(&value, path) {
            return Err(Failure::refused(format!(
                "{below}{path} of {name} is not supported by the built-in runtime"
            )));
        }
    }
    serde_json::from_value(value)
        .map_err(std::io::Error::from)
        .during(step())
}

/// Removes what is null: some writers mean "absent" by it.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(values) => values.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Whether something other than nothing stands at `path`.
fn asks(value: &Value, path: &str) -> bool {
    let (first, rest) = path
        .split_once('.')
        .map_or((path, None), |(first, rest)| (first, Some(rest)));
    let all = value.as_array().filter(|_| first == "*");
    if let (Some(values), Some(rest)) = (all, rest) {
        return values.iter().any(|value| asks(value, rest));
    }
    match (value.get(first), rest) {
        (Some(value), Some(rest)) => asks(value, rest),
        (Some(value), None) => !is_nothing(value),
        (None, _) => false,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        _ => false,
    }
}

fn check(spec: &Spec) -> Result<(), Failure> {
    let refuse = |what: String| Err(Failure::refused(what));
    if !spec.oci_version.starts_with("1.") {
        return refuse(format!(
            "ociVersion {:?} is not supported: 1.x is",
            spec.oci_version
        ));
    }
    check_process(&spec.process)?;
    check_namespaces(spec)?;
    for mount in &spec.mounts {
        if !mount.destination.starts_with('/') {
            return refuse(format!(
                "mount destination {:?} is not absolute",
                mount.destination
            ));
        }
        if mount.kind.is_empty() && !mount.is_bind() {
            return refuse(format!("mount {} has no type", mount.destination));
        }
        options::parse(mount)?;
    }
    for path in spec.linux.masked_paths.iter().chain(&spec.linux.readonly_paths) {
        if !path.starts_with('/') {
            return refuse(format!("masked or read-only path {path:?} is not absolute"));
        }
    }
    for name in spec.linux.sysctl.keys() {
        let owner = SETTINGS
            .iter()
            .find(|(start, _)| name.starts_with(start))
            .map(|(_, kind)| *kind);
        match owner {
            Some(kind) if spec.linux.has(kind) => {}
            Some(kind) => {
                return refuse(format!(
                    "linux.sysctl {name} would change the host: there is no {kind} namespace"
                ));
            }
            None => return refuse(format!("linux.sysctl {name} belongs to no namespace")),
        }
    }
    crate::seccomp::of(spec).map_err(|error| Failure::refused(base::chain(&error)))?;
    Ok(())
}

fn check_namespaces(spec: &Spec) -> Result<(), Failure> {
    let linux = &spec.linux;
    let refuse = |what: String| Err(Failure::refused(what));
    for namespace in &linux.namespaces {
        let kind = namespace.kind.as_str();
        if !NAMESPACES.contains(&kind) {
            return refuse(format!(
                "namespace {kind} is not supported by the built-in runtime"
            ));
        }
        if linux.namespaces.iter().filter(|other| other.kind == kind).count() > 1 {
            return refuse(format!("namespace {kind} is named twice"));
        }
        if namespace.path.is_some() && ["user", "mount"].contains(&kind) {
            return refuse(format!(
                "joining a {kind} namespace by path is not supported by the built-in runtime"
            ));
        }
    }
    if !linux.makes("mount") {
        return refuse(
            "a container without a mount namespace is not supported by the built-in runtime".to_owned(),
        );
    }
    let mapped = !linux.uid_mappings.is_empty() && !linux.gid_mappings.is_empty();
    if linux.makes("user") != mapped {
        return refuse("a user namespace needs uid and gid maps, and these need it".to_owned());
    }
    let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
    if named && !linux.has("uts") {
        return refuse("hostname would change the host: there is no uts namespace".to_owned());
    }
    Ok(())
}

fn check_process(process: &Process) -> Result<(), Failure> {
    let refuse = |what: String| Err(Failure::refused(what));
    if process.args.first().is_none_or(String::is_empty) {
        return refuse("process.args is empty".to_owned());
    }
    if !process.cwd.starts_with('/') {
        return refuse(format!("process.cwd {:?} is not absolute", process.cwd));
    }
    if let Some(limit) = process
        .rlimits
        .iter()
        .find(|limit| resource(&limit.kind).is_none())
    {
        return refuse(format!("process.rlimits {} is not known", limit.kind));
    }
    let sets = &process.capabilities;
    for names in [
        &sets.bounding,
        &sets.effective,
        &sets.permitted,
        &sets.inheritable,
        &sets.ambient,
    ] {
        rights::set(names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base_bundle() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": { "cwd": "/", "args": ["true"], "user": { "uid": 0, "gid": 0 }, "env": null },
            "linux": { "namespaces": [{ "type": "mount" }], "resources": { "blockIO": {}, "hugepageLimits": [] } },
            "futureProperty": { "x": 1 }
        })
    }

    fn judge(value: &Value) -> Result<Spec, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join(names::CONFIG), value.to_string()).expect("written");
        read(dir.path()).map_err(|failure| base::chain(&failure))
    }

    /// Where, what, and the name in the refusal.
    fn cases() -> Vec<(&'static str, Value, &'static str)> {
        vec![
            (
                "/process/apparmorProfile",
                json!("docker-default"),
                "process.apparmorProfile",
            ),
            ("/linux/intelRdt", json!({ "closID": "x" }), "linux.intelRdt"),
            (
                "/linux/resources/unified",
                json!({ "memory.high": "1" }),
                "linux.resources.unified",
            ),
            (
                "/linux/resources/cpu",
                json!({ "cpus": "0-1" }),
                "linux.resources.cpu.cpus",
            ),
            (
                "/mounts",
                json!([{ "destination": "/x", "type": "bind", "source": "/", "uidMappings": [{}] }]),
                "mounts.*.uidMappings",
            ),
            (
                "/mounts",
                json!([{ "destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"] }]),
                "tmpcopyup",
            ),
            (
                "/hooks",
                json!({ "startContainer": [{ "path": "/x" }] }),
                "hooks.startContainer",
            ),
        ]
    }

    /// As [`cases`], about values rather than names.
    fn more_cases() -> Vec<(&'static str, Value, &'static str)> {
        vec![
            (
                "/linux/namespaces",
                json!([{ "type": "mount" }, { "type": "time" }]),
                "namespace time",
            ),
            (
                "/linux/namespaces",
                json!([{ "type": "mount", "path": "/proc/1/ns/mnt" }]),
                "mount namespace by path",
            ),
            ("/linux/namespaces", json!([]), "without a mount namespace"),
            (
                "/linux/sysctl",
                json!({ "net.core.somaxconn": "1" }),
                "net.core.somaxconn",
            ),
            ("/linux/sysctl", json!({ "kernel.panic": "1" }), "kernel.panic"),
            (
                "/linux/seccomp",
                json!({ "defaultAction": "SCMP_ACT_TRACE" }),
                "SCMP_ACT_TRACE",
            ),
            (
                "/process/rlimits",
                json!([{ "type": "RLIMIT_X", "hard": 1, "soft": 1 }]),
                "RLIMIT_X",
            ),
            ("/process/capabilities", json!({ "bounding": ["CAP_X"] }), "CAP_X"),
            ("/process/cwd", json!("relative"), "process.cwd"),
            ("/hostname", json!("x"), "hostname"),
            ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ]
    }

    #[test]
    fn what_is_unknown_is_ignored_and_what_is_not_supported_is_named() {
        let spec = judge(&base_bundle()).expect("supported");
        assert!(spec.root.path.is_absolute() && spec.root.path.ends_with("rootfs"));
        for (pointer, value, wanted) in cases().into_iter().chain(more_cases()) {
            let mut bundle = base_bundle();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            bundle.pointer_mut(parent).expect("there")[name] = value;
            let refused = judge(&bundle).expect_err(pointer);
            assert!(refused.contains(wanted), "{pointer}: {refused}");
        }
    }
}
