//! Habits of the house that no compiler checks.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

/// Lines of a file before its tests.
const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn files(below: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir()
            && !["target", "generated", "node_modules"].contains(&name.as_str())
            && !name.starts_with('.')
        {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root(), ".rs", &mut found);
    assert!(
        found.len() > 100,
        "only {} sources found: the walk is broken",
        found.len()
    );
    found
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Fails with every place where `wrong` finds something.
fn check(rule: &str, wrong: impl Fn(&Path, &str) -> Option<String>) {
    let problems: Vec<String> = sources()
        .iter()
        .filter_map(|(path, text)| {
            wrong(path, text).map(|what| format!("{}: {what}", path.strip_prefix(root()).unwrap().display()))
        })
        .collect();
    assert!(problems.is_empty(), "{rule}\n{}", problems.join("\n"));
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests")
        || path
            .file_stem()
            .is_some_and(|s| s.to_string_lossy().ends_with("tests"))
}

#[test]
fn every_file_says_what_it_is() {
    check("every file starts with `//!`", |_, text| {
        (!text.starts_with("//!")).then(|| "no module doc".to_owned())
    });
}

#[test]
fn files_are_about_one_noun() {
    check("a file over the limit is two nouns", |path, text| {
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        (lines > LONGEST_FILE && !is_test(path)).then(|| format!("{lines} lines before its tests"))
    });
}

#[test]
fn nothing_is_left_for_later() {
    // Written apart, so that this file does not find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("#[ign", "ore"),
    ];
    check(
        "unfinished work has an issue, not a place in the code",
        |_, text| {
            words
                .into_iter()
                .find(|word| text.contains(word))
                .map(str::to_owned)
        },
    );
}

#[test]
fn no_line_ends_in_a_blank() {
    check("no blanks at line ends", |_, text| {
        text.lines()
            .position(|line| line.ends_with([' ', '\t']))
            .map(|at| format!("line {}", at + 1))
    });
}

#[test]
fn only_sys_is_unsafe() {
    let lifts = concat!("allow(unsafe", "_code");
    let expects = concat!("expect(unsafe", "_code");
    check("unsafe code lives in crates/sys", |path, text| {
        let inside = path.starts_with(root().join("crates/sys"));
        (!inside && (text.contains(lifts) || text.contains(expects))).then(|| "lifts the ban".to_owned())
    });
}

#[test]
fn one_clippy_file_and_every_crate_inherits_lints() {
    let mut clippy = Vec::new();
    files(&root(), "clippy.toml", &mut clippy);
    assert_eq!(
        clippy,
        [root().join("clippy.toml")],
        "a second one would silently drop the bans of the first"
    );
    let mut manifests = Vec::new();
    files(&root(), "Cargo.toml", &mut manifests);
    for manifest in manifests {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let inherits = text.contains("[lints]\nworkspace = true") || text.contains("[workspace.lints");
        assert!(
            inherits,
            "{} does not inherit the workspace's lints",
            manifest.display()
        );
    }
}
