//! Rules and the names they judge.

use super::*;

fn rules(allow: &[&str], deny: &[&str], redirects: &[&str]) -> Rules {
    let own = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    let document = RegistrySettings {
        allow: own(allow),
        deny: own(deny),
        redirects: own(redirects),
        ..RegistrySettings::default()
    };
    Rules::new(&document).unwrap_or_else(|error| panic!("{error}"))
}

fn judged(rules: &Rules, text: &str) -> Result<(), Refusal> {
    rules.judge(&Reference::parse(text, HUB).unwrap())
}

#[test]
fn deny_beats_allow_and_no_rules_allow_everything() {
    let open = rules(&[], &[], &[]);
    assert!(judged(&open, "anything.example:1/x").is_ok());
    let both = rules(
        &["docker.io", "*.corp.example", "ghcr.io/team/*"],
        &["docker.io/evil/*", "bad.corp.example"],
        &[],
    );
    for (text, want) in [
        ("nginx", Ok(())),
        ("registry-1.docker.io/library/nginx", Ok(())),
        ("evil/app", Err(Some("docker.io/evil/*"))),
        ("index.docker.io/evil/app", Err(Some("docker.io/evil/*"))),
        ("registry-1.docker.io/evil/app", Err(Some("docker.io/evil/*"))),
        ("registry-1.docker.io:443/evil/app", Err(Some("docker.io/evil/*"))),
        ("a.corp.example/x", Ok(())),
        ("b.a.corp.example/x", Ok(())),
        ("corp.example/x", Err(None)),
        ("xcorp.example/x", Err(None)),
        ("bad.corp.example/x", Err(Some("bad.corp.example"))),
        ("BAD.corp.example:5000/x", Err(Some("bad.corp.example"))),
        ("ghcr.io/team/x", Ok(())),
        ("ghcr.io/team/x/y", Ok(())),
        ("ghcr.io/teammate/x", Err(None)),
        ("ghcr.io/other/x", Err(None)),
        ("ghcr.io:22/team/x", Err(None)),
        ("a.corp.example:22/x", Err(None)),
    ] {
        let got = judged(&both, text).map_err(|refusal| match refusal {
            Refusal::Denied { rule } => Some(rule),
            Refusal::NotAllowed { .. } => None,
        });
        assert_eq!(
            got.as_ref().map_err(Option::as_deref),
            want.as_ref().map_err(|w| *w),
            "{text}"
        );
    }
}

#[test]
fn repositories_are_exact_or_prefixes_and_ports_are_exact() {
    let some = rules(
        &["reg.example:5000/a/b", "reg.example:5000/c*", "docker.io/nginx"],
        &[],
        &[],
    );
    for (text, fits) in [
        ("reg.example:5000/a/b:1", true),
        ("reg.example:5000/a/bc", false),
        ("reg.example:5000/cat/x", true),
        ("reg.example/a/b", false),
        ("nginx", true),
        ("redis", false),
    ] {
        assert_eq!(judged(&some, text).is_ok(), fits, "{text}");
    }
}

#[test]
fn an_address_has_one_spelling() {
    let no_loopback = rules(&[], &["127.0.0.1", "[::1]"], &[]);
    for text in [
        "127.0.0.1:5000/x",
        "127.1:5000/x",
        "2130706433:1/x",
        "0x7f.1:1/x",
        "[0:0::1]:5000/x",
    ] {
        assert!(judged(&no_loopback, text).is_err(), "{text}");
    }
}

#[test]
fn hosts_that_registries_lead_to() {
    let some = rules(
        &["reg.example/team/*", "docker.io", "other.example"],
        &["bad.cdn.example", "half.example/x"],
        &["*.cdn.example", "s3.example:9000"],
    );
    let place = |text: &str| Place::of_url(&text.parse().unwrap()).unwrap();
    for (asked, target, fits) in [
        ("https://reg.example/", "https://reg.example/token", true),
        ("https://reg.example/", "https://a.cdn.example/x", true),
        ("https://reg.example/", "https://a.cdn.example:444/x", false),
        ("https://reg.example/", "https://bad.cdn.example/x", false),
        ("https://reg.example/", "https://s3.example:9000/x", true),
        ("https://reg.example/", "https://s3.example/x", false),
        ("https://reg.example/", "https://other.example/x", true),
        ("https://other.example/", "https://reg.example/x", false),
        ("https://other.example/", "https://half.example/x", false),
        (
            "https://registry-1.docker.io/",
            "https://auth.docker.io/token",
            true,
        ),
        (
            "https://registry-1.docker.io/",
            "https://production.cloudflare.docker.com/x",
            true,
        ),
        ("https://reg.example/", "https://auth.docker.io/token", false),
        (
            "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
            "https://api.ecr.eu-west-1.amazonaws.com/",
            true,
        ),
    ] {
        assert_eq!(
            some.judge_host(&place(asked), &place(target)).is_ok(),
            fits,
            "{asked} {target}"
        );
    }
    let deny_only = rules(&[], &["bad.example", "half.example/x"], &[]);
    let asked = place("https://reg.example/");
    assert!(
        deny_only
            .judge_host(&asked, &place("https://bad.example:9/"))
            .is_err()
    );
    assert!(
        deny_only
            .judge_host(&asked, &place("https://half.example/"))
            .is_ok()
    );
}

#[test]
fn wrong_rules_are_named() {
    for (entry, why) in [
        ("https://reg.example", "has a scheme"),
        ("", "names no host"),
        ("*", "names no host"),
        ("*.*.example", "names no host"),
        ("a.*.example", "names no host"),
        ("reg.example:99999", "names no host"),
        ("reg.example/", "names no repository"),
        ("reg.example/a/", "names no repository"),
        ("reg.example/a*b", "names no repository"),
        ("reg.example/A", "names no repository"),
        ("user@reg.example", "names no host"),
    ] {
        let document = RegistrySettings {
            deny: vec![entry.to_owned()],
            ..RegistrySettings::default()
        };
        let error = Rules::new(&document).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("deny entry {entry:?} {why}; write")),
            "{error}"
        );
    }
    let document = RegistrySettings {
        redirects: vec!["cdn.example/x".to_owned()],
        ..RegistrySettings::default()
    };
    assert!(
        Rules::new(&document)
            .unwrap_err()
            .to_string()
            .contains("names a repository")
    );
}
