//! Environment: the caller's, plus what every program may expect, where it is unset.
//!
//! Values: cloudfoundry/guardian:rundmc/processes/unix_env.go. `TMPDIR` and `LANG` are never added.

const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// `env` with `PATH`, `USER` and `HOME` for a program run as `uid`, known to its caller as `user`. Of several entries
/// with one name the last stays.
pub fn with_defaults(env: &[String], uid: u32, user: &str, home: &str) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(env.len() + 3);
    for entry in env {
        let name = name(entry);
        kept.retain(|earlier| self::name(earlier) != name);
        kept.push(entry.clone());
    }
    let path = if uid == 0 { ROOT_PATH } else { USER_PATH };
    let user = if user.is_empty() { "root" } else { user };
    for (name, value) in [("PATH", path), ("USER", user), ("HOME", home)] {
        if !kept.iter().any(|entry| self::name(entry) == name) {
            kept.push(format!("{name}={value}"));
        }
    }
    kept
}

/// Which of the defaults [`with_defaults`] would add to `env`.
pub fn missing(env: &[String]) -> Vec<&'static str> {
    let unset = |name: &&str| !env.iter().any(|entry| self::name(entry) == *name);
    ["PATH", "USER", "HOME"].into_iter().filter(unset).collect()
}

/// `env` without the entries of these names.
pub fn without(env: &[String], names: &str) -> Vec<String> {
    let named = |entry: &&String| names.split(',').any(|one| one == name(entry));
    env.iter().filter(|entry| !named(entry)).cloned().collect()
}

fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::with_defaults;

    #[test]
    fn defaults_fill_gaps_and_the_last_value_wins() {
        let env = ["A=1".to_owned(), "HOME=/data".to_owned(), "A=2=3".to_owned()];
        let got = with_defaults(&env, 1000, "1000:1000", "/");
        assert_eq!(
            got,
            [
                "HOME=/data",
                "A=2=3",
                "PATH=/usr/local/bin:/usr/bin:/bin",
                "USER=1000:1000"
            ]
        );
        assert_eq!(
            with_defaults(&[], 0, "", "/root")[1..],
            ["USER=root", "HOME=/root"]
        );
    }
}
