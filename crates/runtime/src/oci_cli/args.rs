//! The command line, taken apart.

use std::collections::BTreeMap;

use crate::init::Failure;

/// Options before the command that take a value, and those that take none.
const GLOBAL: [&str; 4] = ["root", "log", "log-format", "log-level"];
const GLOBAL_FLAGS: [&str; 1] = ["debug"];

/// A command line.
#[derive(Debug, Default)]
pub struct Line {
    globals: BTreeMap<String, String>,
    /// The command.
    pub verb: String,
    options: BTreeMap<String, Vec<String>>,
    /// What is neither an option nor a value of one.
    pub rest: Vec<String>,
}

/// Options of a command: long name, short name, whether a value follows.
fn options(verb: &str) -> &'static [(&'static str, &'static str, bool)] {
    match verb {
        "create" | "run" => &[
            ("bundle", "b", true),
            ("pid-file", "", true),
            ("console-socket", "", true),
            ("no-new-keyring", "", false),
            ("preserve-fds", "", true),
            ("detach", "d", false),
        ],
        "exec" => &[
            ("process", "p", true),
            ("pid-file", "", true),
            ("console-socket", "", true),
            ("detach", "d", false),
            ("tty", "t", false),
            ("cwd", "", true),
            ("env", "e", true),
            ("user", "u", true),
            ("preserve-fds", "", true),
        ],
        "kill" => &[("all", "a", false)],
        "delete" => &[("force", "f", false)],
        "ps" => &[("format", "f", true)],
        _ => &[],
    }
}

impl Line {
    /// The value of an option before the command.
    pub fn global(&self, name: &str) -> Option<&str> {
        self.globals.get(name).map(String::as_str)
    }

    /// The last value of an option of the command.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str)
    }

    /// All values of an option.
    pub fn all(&self, name: &str) -> &[String] {
        self.options.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether an option is there.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The container's id.
    pub fn id(&self) -> Result<&str, Failure> {
        let id = self.rest.first().map_or("", String::as_str);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if id.is_empty() || id.starts_with('.') || id.len() > 1024 || !id.bytes().all(plain) {
            return Err(Failure::refused(format!(
                "{id:?} is no container id: use A-Z a-z 0-9 _ + - ."
            )));
        }
        Ok(id)
    }
}

/// Takes a command line apart.
///
/// # Errors
/// Names an option that is not known: one that is left out would change what was asked for.
pub fn parse(words: Vec<String>) -> Result<Line, Failure> {
    let mut line = Line::default();
    let mut words = words.into_iter();
    let missing = |name: &str| Failure::refused(format!("option --{name} needs a value"));
    while let Some(word) = words.next() {
        let Some((name, value)) = option(&word) else {
            line.verb = word;
            break;
        };
        if GLOBAL_FLAGS.contains(&name.as_str()) {
            continue;
        }
        if !GLOBAL.contains(&name.as_str()) {
            return Err(Failure::refused(format!(
                "option {word} is not supported by the built-in runtime"
            )));
        }
        let value = value.or_else(|| words.next()).ok_or_else(|| missing(&name))?;
        line.globals.insert(name, value);
    }
    if line.verb.is_empty() {
        return Err(Failure::refused(
            "usage: [--root DIR] [--log FILE] [--log-format json|text] create|start|state|kill|delete|exec|run|ps|features",
        ));
    }
    let known = options(&line.verb);
    while let Some(word) = words.next() {
        // What follows the id of exec belongs to the program.
        let Some((name, value)) = option(&word).filter(|_| line.verb != "exec" || line.rest.is_empty())
        else {
            line.rest.push(word);
            continue;
        };
        let Some((long, _, valued)) = known
            .iter()
            .find(|(long, short, _)| name == *long || name == *short)
        else {
            return Err(Failure::refused(format!(
                "option {word} of {} is not supported by the built-in runtime",
                line.verb
            )));
        };
        let value = match (valued, value) {
            (true, Some(value)) => value,
            (true, None) => words.next().ok_or_else(|| missing(long))?,
            (false, value) => value.unwrap_or_default(),
        };
        line.options.entry((*long).to_owned()).or_default().push(value);
    }
    Ok(line)
}

/// Name and attached value of `--name=value`, `--name`, `-n`.
fn option(word: &str) -> Option<(String, Option<String>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    if name.is_empty() {
        return None;
    }
    Some(match name.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (name.to_owned(), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        parse(text.split(' ').map(str::to_owned).collect()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_lines_of_engines_are_understood() {
        let create =
            line("--root /r --log=/l --log-format json create -b /b --pid-file /p c1").expect("known");
        assert_eq!(
            (create.verb.as_str(), create.global("root"), create.global("log")),
            ("create", Some("/r"), Some("/l"))
        );
        assert_eq!(
            (create.option("bundle"), create.id().expect("an id")),
            (Some("/b"), "c1")
        );
        let exec = line("exec -e A=1 -e B=2 -d c1 sh -c -x").expect("known");
        assert_eq!(
            (exec.all("env").len(), exec.has("detach"), exec.rest.len()),
            (2, true, 4)
        );
        let kill = line("kill --all c1 9").expect("known");
        assert_eq!(kill.rest, ["c1", "9"]);
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, name) in [
            ("--systemd-cgroup create c", "--systemd-cgroup"),
            ("create --no-pivot c", "--no-pivot"),
            ("create -b", "bundle"),
        ] {
            assert!(line(text).expect_err(text).contains(name), "{text}");
        }
        assert!(line("state ../x").expect("parses").id().is_err());
    }
}
