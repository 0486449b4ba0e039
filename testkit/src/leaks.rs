//! Looks for what a platform left behind: processes, mounts, control groups, links, firewall tables, directories.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The tag that names a platform's kernel objects.
pub fn tag(data_dir: &Path) -> String {
    let path = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    crate::image::sha256(path.as_os_str().as_encoded_bytes())
        .chars()
        .take(6)
        .collect()
}

/// Everything of the platform with this tag and data directory that is still there, as text for people.
pub fn of(tag: &str, data_dir: &Path) -> Vec<String> {
    let dir = data_dir.display().to_string();
    let mut left = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&dir))
            .map(|line| format!("mount: {line}")),
    );
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&dir) {
            left.push(format!(
                "process {}: {command}",
                process.file_name().to_string_lossy()
            ));
        }
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for group in fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
            if group.file_name().to_string_lossy().contains(tag) {
                left.push(format!("cgroup: {}", group.path().display()));
            }
        }
    }
    for (what, program, args) in [
        ("link", "ip", &["-o", "link"][..]),
        ("table", "nft", &["list", "tables"][..]),
    ] {
        let output = Command::new(program)
            .args(args)
            .output()
            .map(|o| o.stdout)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&output).into_owned();
        left.extend(
            text.lines()
                .filter(|line| line.contains(tag))
                .map(|line| format!("{what}: {line}")),
        );
    }
    if data_dir.exists() {
        left.push(format!("directory: {dir}"));
    }
    left
}
