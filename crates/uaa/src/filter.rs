//! The filter language of `GET /Users`: `attribute eq "value"`, joined by `and`. That is what clients send; anything
//! else is refused rather than answered wrongly.

/// What a filter asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Id(String),
    UserName(String),
    Origin(String),
    Email(String),
}

/// The terms that must all hold, or `None` when the text is not understood.
pub(crate) fn parse(text: &str) -> Option<Vec<Term>> {
    let mut rest = text.trim();
    let mut terms = Vec::new();
    loop {
        let (attribute, after) = word(rest)?;
        let (operator, after) = word(after)?;
        let (value, after) = string(after.trim_start())?;
        if !operator.eq_ignore_ascii_case("eq") {
            return None;
        }
        terms.push(match attribute.to_ascii_lowercase().as_str() {
            "id" => Term::Id(value),
            "username" => Term::UserName(value),
            "origin" => Term::Origin(value),
            "email" | "emails.value" => Term::Email(value),
            _ => return None,
        });
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(terms);
        }
        let (joiner, after) = word(rest)?;
        if !joiner.eq_ignore_ascii_case("and") {
            return None;
        }
        rest = after;
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    text.trim_start().split_once(char::is_whitespace)
}

/// A string in double quotes (or single ones, which UAA accepts), with backslash escapes.
fn string(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, c)| matches!(c, '"' | '\''))?;
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(chars.next()?.1),
            c if c == quote => return Some((value, text.get(at + 1..)?)),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Term::*;
    use super::*;

    #[test]
    fn filters_are_read() {
        for (text, expected) in [
            (r#"userName eq "x""#, Some(vec![UserName("x".into())])),
            (
                r#" username Eq "a b" AND origin eq "uaa" "#,
                Some(vec![UserName("a b".into()), Origin("uaa".into())]),
            ),
            (r#"id eq "a\"b""#, Some(vec![Id("a\"b".into())])),
            (r#"email eq 'x@y'"#, Some(vec![Email("x@y".into())])),
            (r#"userName eq "x" or id eq "y""#, None),
            (r#"userName co "x""#, None),
            (r#"userName eq "x"#, None),
            (r#"userName eq x"#, None),
            (r#"userName eq "x" and"#, None),
            (r#"password eq "x""#, None),
            (r#"userName eq "x\"#, None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
