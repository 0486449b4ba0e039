//! Every command, one noun per file. A new command is a new entry in its noun's `COMMANDS`.

mod app;
mod build;
mod crash;
mod curl;
mod deployment;
mod domain;
mod endpoint;
mod env;
mod event;
mod feature_flag;
mod help;
mod image;
mod instance;
mod login;
mod logs;
mod org;
mod progress;
mod push;
mod registry;
mod role;
mod route;
mod scale;
mod space;
mod start;
mod summary;
mod target;
mod user;

use crate::command::Command;

const NOUNS: &[&[Command]] = &[
    help::COMMANDS,
    endpoint::COMMANDS,
    login::COMMANDS,
    target::COMMANDS,
    push::COMMANDS,
    app::COMMANDS,
    start::COMMANDS,
    build::COMMANDS,
    scale::COMMANDS,
    deployment::COMMANDS,
    logs::COMMANDS,
    event::COMMANDS,
    env::COMMANDS,
    org::COMMANDS,
    space::COMMANDS,
    domain::COMMANDS,
    route::COMMANDS,
    user::COMMANDS,
    role::COMMANDS,
    feature_flag::COMMANDS,
    registry::COMMANDS,
    image::COMMANDS,
    curl::COMMANDS,
];

/// All commands, noun by noun.
pub fn all() -> impl Iterator<Item = &'static Command> {
    NOUNS.iter().flat_map(|noun| noun.iter())
}

/// A command by name or alias.
pub fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| !name.is_empty() && (command.name == name || command.alias == name))
}

/// The names that look most like a mistyped one.
pub fn similar(name: &str) -> Vec<&'static str> {
    let mut near: Vec<(usize, &str)> = all()
        .map(|command| (distance(name, command.name), command.name))
        .collect();
    near.sort();
    near.into_iter()
        .filter(|(far, _)| *far <= 2.min(name.len() / 2))
        .take(3)
        .map(|(_, name)| name)
        .collect()
}

/// How many letters must be changed, added or removed to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, a) in one.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.chars()) {
            let value = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, value);
            left = value;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_aliases_are_unique() {
        let mut seen = HashSet::new();
        for command in all() {
            assert!(seen.insert(command.name), "{} twice", command.name);
            assert!(
                command.alias.is_empty() || seen.insert(command.alias),
                "{} twice",
                command.alias
            );
            assert!(command.usage.starts_with(command.name), "{}", command.name);
            let mut flags = HashSet::new();
            for flag in command.flags {
                assert!(
                    flag.long.is_empty() || flags.insert(flag.long),
                    "{}",
                    command.name
                );
                assert!(
                    flag.short.is_empty() || flags.insert(flag.short),
                    "{}",
                    command.name
                );
                assert!(!matches!(flag.short, "v" | "h"), "{}", command.name);
            }
        }
    }

    #[test]
    fn aliases_are_cf_s() {
        for (alias, name) in [
            ("p", "push"),
            ("a", "apps"),
            ("r", "routes"),
            ("t", "target"),
            ("l", "login"),
            ("lo", "logout"),
            ("d", "delete"),
            ("rs", "restart"),
            ("rg", "restage"),
            ("sp", "stop"),
            ("st", "start"),
            ("o", "orgs"),
            ("e", "env"),
            ("se", "set-env"),
            ("ue", "unset-env"),
            ("co", "create-org"),
            ("csp", "create-space"),
            ("h", "help"),
        ] {
            assert_eq!(find(alias).map(|command| command.name), Some(name));
        }
        assert!(find("").is_none() && find("up").is_none());
    }

    #[test]
    fn typing_errors_find_their_command() {
        assert_eq!(similar("psuh"), ["push"]);
        assert_eq!(similar("restrat")[0], "restart");
        assert!(similar("xyzzy").is_empty());
        assert_eq!(
            (
                distance("", "abc"),
                distance("abc", "abc"),
                distance("kitten", "sitting")
            ),
            (3, 0, 3)
        );
    }
}
