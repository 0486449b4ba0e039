//! One command line at work: the API, the conversation with the user, what is targeted, and look-ups by name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::Clock;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::Secret;
use crate::api::Api;
use crate::config::{Config, ConfigFile, Named};
use crate::environment::{Environment, Streams};
use crate::error::{Error, Result};
use crate::token::Claims;
use crate::ui::Ui;

/// The surroundings of a running command.
pub struct Session {
    /// The conversation.
    pub ui: Arc<Ui>,
    /// The API.
    pub api: Api,
    /// How this program is called.
    pub program: String,
    /// This program's version.
    pub version: String,
    /// Where manifests are looked for.
    pub directory: PathBuf,
    /// `CF_DOCKER_PASSWORD`.
    pub docker_password: Secret,
    /// `CF_USERNAME`.
    pub username: String,
    /// `CF_PASSWORD`.
    pub password: Secret,
    /// How long staging may take.
    pub staging_timeout: Duration,
    /// How long a start may take.
    pub startup_timeout: Duration,
    /// The zone in which times are shown.
    pub zone: TimeZone,
    clock: Arc<dyn Clock>,
}

/// Who works where: the result of the checks before a command that needs a space.
#[derive(Clone, Debug)]
pub struct Target {
    /// The org.
    pub org: Named,
    /// The space.
    pub space: Named,
    /// The user.
    pub user: String,
}

impl Session {
    /// Reads the configuration and prepares the API.
    ///
    /// # Errors
    /// When there is no home directory or the configuration cannot be read.
    pub fn open(mut environment: Environment) -> Result<Self, (Arc<Ui>, Error)> {
        let streams = std::mem::replace(&mut environment.streams, Streams::closed());
        let ui = Arc::new(Ui::new(streams, environment.terminal, environment.colour));
        match load(&environment) {
            Ok((file, config)) => Ok(Self::with(environment, ui, file, config)),
            Err(error) => Err((ui, error)),
        }
    }

    fn with(environment: Environment, ui: Arc<Ui>, file: ConfigFile, config: Config) -> Self {
        Self {
            api: Api::new(ui.clone(), &environment, file, config),
            ui,
            program: environment.program,
            version: environment.version,
            directory: environment.directory,
            docker_password: environment.docker_password,
            username: environment.username,
            password: environment.password,
            staging_timeout: environment.staging_timeout,
            startup_timeout: environment.startup_timeout,
            zone: TimeZone::system(),
            clock: environment.clock,
        }
    }

    /// Now.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The user's name, after checking that an API is set and somebody is logged in.
    ///
    /// # Errors
    /// Says which command to run first.
    pub fn user(&self) -> Result<String> {
        let (config, program) = (self.api.config(), &self.program);
        if config.api.is_empty() {
            let text = format!(
                "No API endpoint set. Use '{program} login' or '{program} api' to target an endpoint."
            );
            return Err(Error::Message(text));
        }
        if !config.is_logged_in() {
            return Err(Error::Message(format!(
                "Not logged in. Use '{program} login' or '{program} auth' to log in."
            )));
        }
        Ok(self
            .claims()
            .map(|claims| claims.owner().to_owned())
            .unwrap_or_default())
    }

    /// What the current token says.
    pub fn claims(&self) -> Option<Claims> {
        Claims::read(self.api.config().access_token.reveal())
    }

    /// The user and the targeted org.
    ///
    /// # Errors
    /// Says which command to run first.
    pub fn org(&self) -> Result<(Named, String)> {
        let user = self.user()?;
        let program = &self.program;
        let org = self.api.config().org;
        let org = org.ok_or_else(|| {
            Error::Message(format!(
                "No org targeted, use '{program} target -o ORG' to target an org."
            ))
        })?;
        Ok((org, user))
    }

    /// The user, the targeted org and space.
    ///
    /// # Errors
    /// Says which command to run first.
    pub fn target(&self) -> Result<Target> {
        let (org, user) = self.org()?;
        let program = &self.program;
        let space = self.api.config().space.ok_or_else(|| {
            Error::Message(format!(
                "No space targeted, use '{program} target -s SPACE' to target a space."
            ))
        })?;
        Ok(Target { org, space, user })
    }

    /// "VERB app NAME in org O / space S as U...", and an empty line.
    pub fn announce(&self, what: &str, app: &str, target: &Target) {
        self.ui.line(&format!(
            "{what} {} {}...\n",
            self.ui.name(app),
            self.place("in", target)
        ));
    }

    /// "in org O / space S as U", highlighted.
    pub fn place(&self, preposition: &str, target: &Target) -> String {
        let ui = &self.ui;
        let (org, space, user) = (
            ui.name(&target.org.name),
            ui.name(&target.space.name),
            ui.name(&target.user),
        );
        format!("{preposition} org {org} / space {space} as {user}")
    }

    /// An app of the space by name.
    ///
    /// # Errors
    /// `App 'x' not found.`
    pub async fn app(&self, name: &str, space: &str) -> Result<Value> {
        let found = self
            .api
            .list("/v3/apps", &[("names", &listed(name)), ("space_guids", space)])
            .await?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| Error::NotFound(format!("App '{name}' not found.")))
    }

    /// An org by name.
    ///
    /// # Errors
    /// `Organization 'x' not found.`
    pub async fn org_named(&self, name: &str) -> Result<Value> {
        let found = self
            .first("/v3/organizations", &[("names", &listed(name))])
            .await?;
        found.ok_or_else(|| Error::NotFound(format!("Organization '{name}' not found.")))
    }

    /// A space of an org by name.
    ///
    /// # Errors
    /// `Space 'x' not found.`
    pub async fn space_named(&self, name: &str, org: &str) -> Result<Value> {
        let found = self
            .first(
                "/v3/spaces",
                &[("names", &listed(name)), ("organization_guids", org)],
            )
            .await?;
        found.ok_or_else(|| Error::NotFound(format!("Space '{name}' not found.")))
    }

    /// A domain by name.
    ///
    /// # Errors
    /// `Domain 'x' not found.`
    pub async fn domain(&self, name: &str) -> Result<Value> {
        let found = self.first("/v3/domains", &[("names", &listed(name))]).await?;
        found.ok_or_else(|| Error::NotFound(format!("Domain '{name}' not found.")))
    }

    /// The first thing of a list, if any.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn first(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>> {
        let mut query = query.to_vec();
        query.extend([("page", "1"), ("per_page", "1")]);
        Ok(self.api.page(path, &query).await?.into_iter().next())
    }
}

/// A name as an element of a comma-separated filter.
pub fn listed(name: &str) -> String {
    name.replace('%', "%25").replace(',', "%2C")
}

fn load(environment: &Environment) -> Result<(ConfigFile, Config)> {
    let home = environment.home.as_deref().ok_or_else(|| {
        Error::message(
            "no home directory: set HOME, or SLIPWAY_HOME to the directory that shall hold .slipway",
        )
    })?;
    let file = ConfigFile::under(home);
    let config = file.load()?;
    Ok((file, config))
}
