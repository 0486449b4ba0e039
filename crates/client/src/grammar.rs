//! The grammar of a command line, as `cf` has it: flags before or after positionals, `-i 3`, `-i=3`, `-i3`,
//! `--instances 3`, `--instances=3`, `-rf`, `--` ends the flags. Errors are worded like `cf`'s.

use std::collections::BTreeMap;

use crate::units;

/// What a flag's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Text,
    /// An integer, 0 or more.
    Count,
    /// An integer, 1 or more.
    Positive,
    /// A size with a unit.
    Megabytes,
    /// A log rate.
    LogRate,
    /// `port`, `process`, `http` or `none`.
    HealthCheck,
    /// `rolling`, `canary` or `null`.
    Strategy,
}

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is a switch.
    Nothing,
    /// One value; the last one counts.
    One(Kind),
    /// A value each time it is given.
    Many,
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Long name, without dashes; may be empty.
    pub long: &'static str,
    /// Short name, one letter; may be empty.
    pub short: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// One line of help.
    pub help: &'static str,
}

impl Flag {
    /// A switch.
    pub const fn switch(long: &'static str, short: &'static str, help: &'static str) -> Self {
        Self {
            long,
            short,
            takes: Takes::Nothing,
            help,
        }
    }

    /// A flag with a text.
    pub const fn text(long: &'static str, short: &'static str, help: &'static str) -> Self {
        Self {
            long,
            short,
            takes: Takes::One(Kind::Text),
            help,
        }
    }

    /// A flag with a checked value.
    pub const fn value(long: &'static str, short: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            long,
            short,
            takes: Takes::One(kind),
            help,
        }
    }

    /// A flag that may be repeated.
    pub const fn many(long: &'static str, short: &'static str, help: &'static str) -> Self {
        Self {
            long,
            short,
            takes: Takes::Many,
            help,
        }
    }

    /// The name under which its values are found in [`Args`]: the long one, if there is one.
    fn key(&self) -> &'static str {
        if self.long.is_empty() {
            self.short
        } else {
            self.long
        }
    }

    /// `-i, --instances`, as errors and help show it.
    pub fn shown(&self) -> String {
        match (self.short, self.long) {
            (short, "") => format!("-{short}"),
            ("", long) => format!("--{long}"),
            (short, long) => format!("-{short}, --{long}"),
        }
    }
}

/// A positional argument.
#[derive(Clone, Copy, Debug)]
pub enum Positional {
    /// Must be given.
    Required(&'static str),
    /// May be left out.
    Optional,
    /// Must be given, and it and all before it may begin with a dash (values of variables).
    Verbatim(&'static str),
}

impl Positional {
    fn required_name(self) -> Option<&'static str> {
        match self {
            Self::Required(name) | Self::Verbatim(name) => Some(name),
            Self::Optional => None,
        }
    }
}

/// The flags every command understands.
const COMMON: [Flag; 1] = [Flag::switch("verbose", "v", "Show requests and replies")];

/// A parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    positionals: Vec<String>,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Args {
    /// The positional at `index`, or "".
    pub fn at(&self, index: usize) -> &str {
        self.positionals
            .get(index)
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    /// The value of a flag, if given.
    pub fn value(&self, flag: &str) -> Option<&str> {
        self.values.get(flag)?.last().map(String::as_str)
    }

    /// The value of a flag, or "".
    pub fn text(&self, flag: &str) -> &str {
        self.value(flag).unwrap_or_default()
    }

    /// All values of a flag.
    pub fn all(&self, flag: &str) -> &[String] {
        self.values.get(flag).map(Vec::as_slice).unwrap_or_default()
    }

    /// The value of a counting flag; the parser has checked it.
    pub fn count(&self, flag: &str) -> Option<u64> {
        self.value(flag)?.parse().ok()
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run with these arguments.
    Run(Args),
    /// To explain the command.
    Help,
}

/// Why a command line makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// One positional too many.
    #[error("unexpected argument \"{0}\"")]
    Extra(String),
    /// Anything else, in words.
    #[error("{0}")]
    Bad(String),
}

/// Parses the arguments of a command.
///
/// # Errors
/// A [`Fault`] that reads well after "Incorrect Usage: ".
pub fn parse(positionals: &[Positional], flags: &[Flag], args: &[String]) -> Result<Parsed, Fault> {
    let mut reader = Reader {
        positionals,
        flags,
        rest: args.iter(),
        args: Args::default(),
    };
    while let Some(arg) = reader.rest.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(Parsed::Help),
            "--" => {
                let rest = reader.rest.by_ref().cloned();
                reader.args.positionals.extend(rest);
            }
            _ => reader.take(arg)?,
        }
    }
    reader.finish()
}

struct Reader<'a> {
    positionals: &'a [Positional],
    flags: &'a [Flag],
    rest: std::slice::Iter<'a, String>,
    args: Args,
}

impl Reader<'_> {
    fn take(&mut self, arg: &str) -> Result<(), Fault> {
        let verbatim = matches!(self.positionals.last(), Some(Positional::Verbatim(_)));
        if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = split(long);
            return match self.find(|flag| flag.long == name && !name.is_empty()) {
                Some(flag) => self.store(flag, value),
                None if verbatim => self.keep(arg),
                None => Err(unknown(name)),
            };
        }
        match arg.strip_prefix('-').filter(|short| !short.is_empty()) {
            None => self.keep(arg),
            Some(short) if verbatim && self.find(|flag| flag.short == short).is_none() => self.keep(arg),
            Some(short) => self.cluster(short),
        }
    }

    /// One or more short flags in one word: `-f`, `-rf`, `-i3`, `-i=3`.
    fn cluster(&mut self, word: &str) -> Result<(), Fault> {
        for (index, letter) in word.char_indices() {
            let mut name = [0; 4];
            let name: &str = letter.encode_utf8(&mut name);
            let Some(flag) = self.find(|flag| flag.short == name) else {
                return Err(unknown(name));
            };
            let after = word.get(index + letter.len_utf8()..).unwrap_or_default();
            if let Some(value) = after.strip_prefix('=') {
                return self.store(flag, Some(value));
            }
            if flag.takes != Takes::Nothing {
                return self.store(flag, Some(after).filter(|after| !after.is_empty()));
            }
            self.store(flag, None)?;
        }
        Ok(())
    }

    fn find(&self, matches: impl Fn(&Flag) -> bool) -> Option<Flag> {
        self.flags
            .iter()
            .chain(&COMMON)
            .find(|flag| matches(flag))
            .copied()
    }

    fn store(&mut self, flag: Flag, value: Option<&str>) -> Result<(), Fault> {
        let value = match (flag.takes, value) {
            (Takes::Nothing, None) => String::new(),
            (Takes::Nothing, Some(_)) => {
                return Err(Fault::Bad(format!(
                    "bool flag `{}' cannot have an argument",
                    flag.shown()
                )));
            }
            (_, Some(value)) => value.to_owned(),
            (_, None) => self.following(flag)?,
        };
        if let Takes::One(kind) = flag.takes {
            check(flag, kind, &value)?;
        }
        self.args.values.entry(flag.key()).or_default().push(value);
        Ok(())
    }

    /// The next word as a value; a word that looks like a flag is none, a negative number is.
    fn following(&mut self, flag: Flag) -> Result<String, Fault> {
        let next = self.rest.clone().next().filter(|next| {
            let dashed = next.strip_prefix('-').filter(|rest| !rest.is_empty());
            dashed.is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        let Some(next) = next else {
            return Err(Fault::Bad(format!(
                "expected argument for flag `{}'",
                flag.shown()
            )));
        };
        self.rest.next();
        Ok(next.clone())
    }

    fn keep(&mut self, arg: &str) -> Result<(), Fault> {
        self.args.positionals.push(arg.to_owned());
        Ok(())
    }

    fn finish(self) -> Result<Parsed, Fault> {
        let given = self.args.positionals.len();
        let missing: Vec<String> = self
            .positionals
            .iter()
            .skip(given)
            .filter_map(|p| p.required_name())
            .map(|n| format!("`{n}`"))
            .collect();
        match missing.as_slice() {
            [] => {}
            [one] => {
                return Err(Fault::Bad(format!(
                    "the required argument {one} was not provided"
                )));
            }
            [first @ .., last] => {
                let first = first.join(", ");
                return Err(Fault::Bad(format!(
                    "the required arguments {first} and {last} were not provided"
                )));
            }
        }
        match self.args.positionals.get(self.positionals.len()) {
            Some(extra) => Err(Fault::Extra(extra.clone())),
            None => Ok(Parsed::Run(self.args)),
        }
    }
}

fn split(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

fn unknown(name: &str) -> Fault {
    Fault::Bad(format!("unknown flag `{name}'"))
}

fn check(flag: Flag, kind: Kind, value: &str) -> Result<(), Fault> {
    let expected = |what: &str| {
        Fault::Bad(format!(
            "invalid argument for flag `{}' (expected {what})",
            flag.shown()
        ))
    };
    match kind {
        Kind::Text => Ok(()),
        Kind::Count => value.parse::<u32>().map(drop).map_err(|_| expected("int >= 0")),
        Kind::Positive => match value.parse::<u32>() {
            Ok(1..) => Ok(()),
            _ => Err(expected("int > 0")),
        },
        Kind::Megabytes => units::megabytes(value).map(drop).map_err(Fault::Bad),
        Kind::LogRate => units::log_rate(value).map(drop).map_err(Fault::Bad),
        Kind::HealthCheck if matches!(value, "http" | "port" | "process" | "none") => Ok(()),
        Kind::HealthCheck => Err(Fault::Bad(
            "HEALTH_CHECK_TYPE must be \"port\", \"process\", or \"http\"".into(),
        )),
        Kind::Strategy if matches!(value, "rolling" | "canary" | "null" | "") => Ok(()),
        Kind::Strategy => Err(Fault::Bad(
            "STRATEGY must be \"canary\", \"rolling\" or not set".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::value("instances", "i", Kind::Count, ""),
        Flag::switch("force", "f", ""),
        Flag::switch("", "r", ""),
        Flag::many("var", "", ""),
        Flag::value("", "l", Kind::LogRate, ""),
        Flag::text("path", "p", ""),
    ];
    const APP: &[Positional] = &[Positional::Required("APP_NAME"), Positional::Optional];

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn args(line: &str) -> Args {
        match parse(APP, FLAGS, &words(line)) {
            Ok(Parsed::Run(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn fault(positionals: &[Positional], line: &str) -> String {
        parse(positionals, FLAGS, &words(line)).unwrap_err().to_string()
    }

    #[test]
    fn flags_stand_anywhere_and_in_any_spelling() {
        for line in [
            "-i 3 shop",
            "shop -i 3",
            "shop -i=3",
            "shop -i3",
            "shop --instances 3",
            "--instances=3 shop",
        ] {
            let args = args(line);
            assert_eq!((args.at(0), args.count("instances")), ("shop", Some(3)), "{line}");
        }
        let both = args("-rf shop -l -1");
        assert!(both.has("r") && both.has("force") && both.value("l") == Some("-1"));
        assert_eq!(args("shop --var a=1 --var=b=2").all("var"), ["a=1", "b=2"]);
        assert_eq!(args("-- -shop").at(0), "-shop");
        assert_eq!(args("shop -p=-x").text("path"), "-x");
        assert!(args("shop -v").has("verbose"));
    }

    #[test]
    fn mistakes_are_named_like_cf() {
        assert_eq!(
            fault(APP, ""),
            "the required argument `APP_NAME` was not provided"
        );
        assert_eq!(fault(APP, "a --bogus"), "unknown flag `bogus'");
        assert_eq!(fault(APP, "a -rx"), "unknown flag `x'");
        assert_eq!(fault(APP, "a -i"), "expected argument for flag `-i, --instances'");
        assert_eq!(
            fault(APP, "a -i -f"),
            "expected argument for flag `-i, --instances'"
        );
        assert_eq!(
            fault(APP, "a -i x"),
            "invalid argument for flag `-i, --instances' (expected int >= 0)"
        );
        assert_eq!(
            fault(APP, "a --force=yes"),
            "bool flag `-f, --force' cannot have an argument"
        );
        assert_eq!(fault(APP, "a b c"), "unexpected argument \"c\"");
        let three = [
            Positional::Required("A"),
            Positional::Required("B"),
            Positional::Required("C"),
        ];
        assert_eq!(
            fault(&three, ""),
            "the required arguments `A`, `B` and `C` were not provided"
        );
    }

    #[test]
    fn values_of_variables_may_begin_with_a_dash() {
        let set_env = [
            Positional::Required("APP"),
            Positional::Required("NAME"),
            Positional::Verbatim("VALUE"),
        ];
        let Ok(Parsed::Run(args)) = parse(&set_env, &[], &words("shop OPTS -Xmx5m")) else {
            panic!()
        };
        assert_eq!(args.at(2), "-Xmx5m");
        let Ok(Parsed::Run(args)) = parse(&set_env, &[], &words("shop OPTS --key=1")) else {
            panic!()
        };
        assert_eq!(args.at(2), "--key=1");
    }

    #[test]
    fn help_wins() {
        assert_eq!(parse(APP, FLAGS, &words("-h")), Ok(Parsed::Help));
        assert_eq!(parse(APP, FLAGS, &words("a b --help")), Ok(Parsed::Help));
    }
}
