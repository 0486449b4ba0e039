//! `login`, `auth`, `logout`, `oauth-token`: who speaks to the API.

use crate::Secret;
use crate::api::Grant;
use crate::command::{Command, Group};
use crate::commands::{endpoint, target};
use crate::config::ClientCredentials;
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::session::Session;

/// How often a wrong password may be corrected.
const TRIES: u32 = 3;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "login",
        alias: "l",
        summary: "Log user in",
        usage: "login [-a API_URL] [-u USERNAME] [-p PASSWORD] [-o ORG] [-s SPACE] [--sso | --sso-passcode PASSCODE] [--origin ORIGIN]",
        group: Group::GettingStarted,
        positionals: &[],
        flags: &[
            Flag::text("", "a", "API endpoint (e.g. https://api.example.com)"),
            Flag::text("", "u", "Username (or CF_USERNAME)"),
            Flag::text("", "p", "Password; others may see it here, CF_PASSWORD is safer"),
            Flag::text("", "o", "Org"),
            Flag::text("", "s", "Space"),
            Flag::switch("sso", "", "Prompt for a one-time passcode to login"),
            Flag::text("sso-passcode", "", "One-time passcode"),
            Flag::text(
                "origin",
                "",
                "Indicates the identity provider to be used for login",
            ),
            Flag::switch(
                "skip-ssl-validation",
                "",
                "Skip verification of the API endpoint. Not recommended!",
            ),
        ],
        run: |session, args| Box::pin(login(session, args)),
    },
    Command {
        name: "auth",
        alias: "",
        summary: "Authenticate non-interactively",
        usage: "auth USERNAME PASSWORD [--origin ORIGIN]\nauth CLIENT_ID CLIENT_SECRET --client-credentials",
        group: Group::GettingStarted,
        positionals: &[Positional::Optional, Positional::Optional],
        flags: &[
            Flag::switch(
                "client-credentials",
                "",
                "Use (non-user) service account (also called client credentials)",
            ),
            Flag::text(
                "origin",
                "",
                "Indicates the identity provider to be used for authentication",
            ),
        ],
        run: |session, args| Box::pin(auth(session, args)),
    },
    Command {
        name: "logout",
        alias: "lo",
        summary: "Log user out",
        usage: "logout",
        group: Group::GettingStarted,
        positionals: &[],
        flags: &[],
        run: |session, _| Box::pin(logout(session)),
    },
    Command {
        name: "oauth-token",
        alias: "",
        summary: "Display the OAuth token for the current session and refresh the token if necessary",
        usage: "oauth-token",
        group: Group::GettingStarted,
        positionals: &[],
        flags: &[],
        run: |session, _| Box::pin(oauth_token(session)),
    },
];

async fn login(session: &Session, args: &Args) -> Result<()> {
    let ui = &session.ui;
    let known = session.api.config();
    let (url, skip) = match args.text("a") {
        "" if known.api.is_empty() => (ui.prompt_text("API endpoint")?, args.has("skip-ssl-validation")),
        "" => (
            known.api,
            known.skip_ssl_validation || args.has("skip-ssl-validation"),
        ),
        url => (url.to_owned(), args.has("skip-ssl-validation")),
    };
    let url = endpoint::with_scheme(&url);
    ui.line(&format!("API endpoint: {}", ui.name(&url)));
    endpoint::set(session, &url, skip).await?;
    ui.line("");
    let outcome = match authenticate(session, args).await {
        Ok(()) => target::choose(session, args.text("o"), args.text("s")).await,
        Err(error) => Err(error),
    };
    if session.api.config().is_logged_in() || outcome.is_err() {
        target::show(session);
    }
    outcome
}

async fn authenticate(session: &Session, args: &Args) -> Result<()> {
    let ui = &session.ui;
    let prompts = session.api.prompts().await?;
    let label = |field: &str, otherwise: &str| {
        let found = prompts
            .iter()
            .find(|(name, ..)| name == field)
            .map(|(.., label)| label.as_str());
        found
            .filter(|label| !label.is_empty())
            .unwrap_or(otherwise)
            .to_owned()
    };
    let mut given = Given::new(session, args);
    if given.passcode.is_none() && args.has("sso") {
        ui.line(&label("passcode", "One Time Code"));
    }
    let sso = args.has("sso") || args.has("sso-passcode");
    let username = if sso {
        String::new()
    } else {
        given.username(session, &label("username", "Username"))?
    };
    for _ in 0..TRIES {
        let grant = if sso {
            Grant::Passcode(given.passcode(session)?)
        } else {
            let mut fields = vec![("username".to_owned(), Secret::new(username.clone()))];
            fields.push((
                "password".to_owned(),
                given.password(session, &label("password", "Password"))?,
            ));
            for (name, kind, text) in &prompts {
                if !matches!(name.as_str(), "username" | "password" | "passcode") {
                    fields.push((name.clone(), ask(session, kind, text)?));
                }
            }
            Grant::Password {
                fields,
                origin: args.text("origin").to_owned(),
            }
        };
        ui.line("\nAuthenticating...");
        match session.api.log_in(grant).await {
            Ok(()) => {
                ui.ok();
                return Ok(());
            }
            Err(error @ Error::Login { status: 401, .. }) => ui.warn(&format!("{error}\n")),
            Err(error) => return Err(error),
        }
        if !session.ui.terminal.input && given.is_spent() {
            break;
        }
    }
    Err(Error::message("Unable to authenticate."))
}

/// What was given as flags or in the environment; each secret is tried once, then asked for.
struct Given {
    username: String,
    password: Option<Secret>,
    passcode: Option<Secret>,
    used: bool,
}

impl Given {
    fn new(session: &Session, args: &Args) -> Self {
        let username = args.value("u").unwrap_or(&session.username).to_owned();
        let from_environment = (!session.password.is_empty()).then(|| session.password.clone());
        let password = args.value("p").map(Secret::new).or(from_environment);
        Self {
            username,
            password,
            passcode: args.value("sso-passcode").map(Secret::new),
            used: false,
        }
    }

    fn username(&self, session: &Session, label: &str) -> Result<String> {
        if self.username.is_empty() {
            session.ui.prompt_text(label)
        } else {
            Ok(self.username.clone())
        }
    }

    fn password(&mut self, session: &Session, label: &str) -> Result<Secret> {
        self.used |= self.password.is_some();
        self.password
            .take()
            .map_or_else(|| session.ui.prompt_password(label), Ok)
    }

    fn passcode(&mut self, session: &Session) -> Result<Secret> {
        self.used |= self.passcode.is_some();
        self.passcode
            .take()
            .map_or_else(|| session.ui.prompt_password("Passcode"), Ok)
    }

    /// Whether a secret came from the command line: a script that gave a wrong one will not answer prompts.
    fn is_spent(&self) -> bool {
        self.used
    }
}

fn ask(session: &Session, kind: &str, label: &str) -> Result<Secret> {
    match kind {
        "password" => session.ui.prompt_password(label),
        _ => session.ui.prompt_text(label).map(Secret::new),
    }
}

async fn auth(session: &Session, args: &Args) -> Result<()> {
    let (ui, config) = (&session.ui, session.api.config());
    let program = &session.program;
    if config.api.is_empty() {
        let text =
            format!("No API endpoint set. Use '{program} login' or '{program} api' to target an endpoint.");
        return Err(Error::Message(text));
    }
    if args.has("client-credentials") && args.has("origin") {
        let text = "The following arguments cannot be used together: --client-credentials, --origin";
        return Err(Error::Usage(text.into()));
    }
    let username = if args.at(0).is_empty() {
        session.username.as_str()
    } else {
        args.at(0)
    };
    let password = if args.at(1).is_empty() {
        session.password.clone()
    } else {
        Secret::new(args.at(1))
    };
    match (username.is_empty(), password.is_empty()) {
        (true, true) => return Err(Error::Usage("Username and password not provided.".into())),
        (true, false) => return Err(Error::Usage("Username not provided.".into())),
        (false, true) => return Err(Error::Usage("Password not provided.".into())),
        (false, false) => {}
    }
    ui.line(&format!(
        "API endpoint: {}\n\nAuthenticating...",
        ui.name(&config.api)
    ));
    let grant = if args.has("client-credentials") {
        Grant::Client(ClientCredentials {
            id: username.to_owned(),
            secret: password,
        })
    } else {
        let fields = vec![
            ("username".to_owned(), Secret::new(username)),
            ("password".to_owned(), password),
        ];
        Grant::Password {
            fields,
            origin: args.text("origin").to_owned(),
        }
    };
    session.api.log_in(grant).await?;
    ui.ok();
    ui.line(&format!(
        "Use '{}' to view or set your target org and space.",
        ui.name(&format!("{program} target"))
    ));
    Ok(())
}

async fn logout(session: &Session) -> Result<()> {
    let user = session
        .claims()
        .map(|claims| claims.owner().to_owned())
        .unwrap_or_default();
    session
        .ui
        .line(&format!("Logging out {}...", session.ui.name(&user)));
    session.api.revoke().await;
    session.api.update(|config| config.forget_user())?;
    session.ui.ok();
    Ok(())
}

async fn oauth_token(session: &Session) -> Result<()> {
    session.user()?;
    let token = session.api.bearer().await?.unwrap_or_default();
    session.ui.line(&format!("bearer {token}"));
    Ok(())
}
