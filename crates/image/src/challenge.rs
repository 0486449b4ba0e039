//! Reads `WWW-Authenticate` (RFC 9110, 11.6.1) as registries send it: bytes of a stranger.

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenge to answer among all header values: a token when one is offered, since it does not show the password
/// to the registry.
pub(crate) fn choose<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = values.flat_map(parse).collect();
    let bearer = all.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

/// All challenges of one header value that this client can answer.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        match parameter(after) {
            Some((text, after)) => {
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), text));
                }
                rest = after;
            }
            None => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
        .into_iter()
        .filter_map(|(scheme, parameters)| challenge(&scheme, &parameters))
        .collect()
}

fn challenge(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let get = |name: &str| {
        parameters
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, text)| text.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        }),
        _ => None,
    }
}

/// The leading token (RFC 9110, 5.6.2), possibly empty, and what follows.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// `= value`, quoted or not, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start().strip_prefix('=')?.trim_start();
    match text.strip_prefix('"') {
        Some(quoted) => Some(unquote(quoted)),
        None => {
            let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
            let (value, rest) = text.split_at(end);
            Some((value.to_owned(), rest))
        }
    }
}

/// The text up to the closing quote, backslashes resolved. A missing quote ends at the end.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, text.get(at + 1..).unwrap_or_default()),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            _ => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: own(service),
            scope: own(scope),
        })
    }

    #[test]
    fn challenges_as_registries_send_them() {
        for (values, want) in [
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull""#,
                ],
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/a:pull"),
                ),
            ),
            (
                vec![r#"bearer  realm = "https://a/t" , error="invalid_token""#],
                bearer("https://a/t", None, None),
            ),
            (
                vec![r#"Bearer realm="https://a/t",scope="repository:a:pull,push""#],
                bearer("https://a/t", None, Some("repository:a:pull,push")),
            ),
            (
                vec![r#"Basic realm="Registry, with comma""#],
                Some(Challenge::Basic),
            ),
            (vec!["Basic"], Some(Challenge::Basic)),
            (
                vec![r#"Basic realm="x", Bearer realm="https://a/t",service=s"#],
                bearer("https://a/t", Some("s"), None),
            ),
            (
                vec![r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#],
                bearer("https://a/t", None, None),
            ),
            (vec![r#"Negotiate, Basic realm="x""#], Some(Challenge::Basic)),
            (vec![r#"Bearer realm="a\"b""#], bearer("a\"b", None, None)),
            (
                vec![r#"Bearer realm="https://a"#],
                bearer("https://a", None, None),
            ),
            (vec![r#"Bearer service="no realm""#], None),
            (vec!["Digest realm=x"], None),
            (vec![""], None),
            (vec!["=,=\"\\"], None),
            (vec!["Bearer =\u{e9}"], None),
        ] {
            assert_eq!(choose(values.iter().copied()), want, "{values:?}");
        }
    }
}
