//! One build: from a package to a droplet, or to an error its author can act on.
//!
//! No container is started and no layer is fetched: manifest and configuration say all that staging needs to know.

use std::error::Error;
use std::time::Duration;

use auth::SealError;
use base::chain;
use image::{Credentials, Reference, ReferenceError, ResolveError, Resolved};
use model::{SpaceGuid, is_root_user};
use store::{Query, StoreError, app, build, package, process};

use crate::Settings;
use crate::droplet;
use crate::notice::{self, Source, Tone};
use crate::registry::{self, Unusable};

/// State of a build that is to be staged.
pub(crate) const STAGING: &str = "STAGING";
/// State of a build that has a droplet, and of the droplet.
pub(crate) const STAGED: &str = "STAGED";

const MB: u64 = 1 << 20;

/// Why an image cannot become a droplet; a line for its author.
#[derive(Debug, thiserror::Error)]
enum StagingError {
    #[error("This platform runs container images; push with --docker-image")]
    Bits,
    #[error("the package was deleted; push again")]
    NoPackage,
    /// Its words are the cause's, so the cause is not named again as a source.
    #[error("{0}; correct the image name")]
    Reference(ReferenceError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("the image was not read within {} s; try again, or ask the registry's operator", .0.as_secs())]
    Slow(Duration),
    #[error("the registry password of the package cannot be opened; push again with the password")]
    Password(#[source] SealError),
    /// Its words are the cause's, so the cause is not named again as a source.
    #[error("{0}: {cause}; ask the operator to correct them", cause = .0.source().map(ToString::to_string).unwrap_or_default())]
    Settings(Unusable),
    #[error(
        "Attempting to run process as root user, which is not permitted: {0} is root; set USER in the image to another \
         user, or set the process's user"
    )]
    Root(&'static str),
    #[error(
        "Start command not specified: the image has neither ENTRYPOINT nor CMD; push with -c COMMAND or set one in \
         the image"
    )]
    NoCommand,
    #[error(
        "the image is too large: its layers are {layers_mb} MB compressed, the disk quota of the app is {disk_mb} MB; \
         push with a larger -k or make the image smaller"
    )]
    TooLarge { layers_mb: u64, disk_mb: u64 },
}

/// What is to be staged, as read from the rows.
pub(crate) struct Job {
    pub(crate) build: String,
    pub(crate) app: String,
    pub(crate) package: String,
    /// What the user gave with the package.
    pub(crate) credentials: Option<Credentials>,
    space: SpaceGuid,
    image: String,
    /// Command, user and disk quota of the web process.
    command: Option<String>,
    run_as: Option<String>,
    disk_mb: u64,
}

/// Stages one build and writes how it ended. Safe to repeat: a build that is no longer to be staged is left alone.
pub(crate) async fn stage(settings: &Settings, row: build::Model) -> Result<(), StoreError> {
    let (build, app) = (row.guid.clone(), row.app_guid.clone());
    let lines = Lines { settings, app: &app };
    lines.tell("Staging...");
    let job = match load(settings, row).await? {
        Some(Ok(job)) => job,
        Some(Err(error)) => return lines.fail(&build, &error).await,
        // The app is gone, and this build with it.
        None => return Ok(()),
    };
    match resolve(settings, &job, &lines).await {
        Err(error) => lines.fail(&build, &error).await,
        Ok((reference, resolved)) => {
            lines.describe(&resolved);
            // Before the commit, so that the line precedes whatever follows from it.
            lines.tell("Staging Complete");
            droplet::finish(settings, &job, &reference, &resolved).await?;
            Ok(())
        }
    }
}

async fn load(
    settings: &Settings,
    row: build::Model,
) -> Result<Option<Result<Job, StagingError>>, StoreError> {
    let tx = settings.store.read().await?;
    let web = Query::<process::Entity>::new()
        .eq(process::Column::AppGuid, &row.app_guid)
        .eq(process::Column::Kind, "web");
    let Some(app) = tx.find::<app::Entity>(&row.app_guid).await? else {
        return Ok(None);
    };
    let Some(package) = tx.find::<package::Entity>(&row.package_guid).await? else {
        return Ok(Some(Err(StagingError::NoPackage)));
    };
    let web = tx.one(web).await?;
    // In the same snapshot as the build: a rule holds for every build made after it.
    let obeyed = registry::obey(settings, &tx).await?;
    drop(tx);
    if let Err(unusable) = obeyed {
        return Ok(Some(Err(StagingError::Settings(unusable))));
    }
    Ok(Some(job(settings, (row, app, package), web)))
}

fn job(
    settings: &Settings,
    (row, app, package): (build::Model, app::Model, package::Model),
    web: Option<process::Model>,
) -> Result<Job, StagingError> {
    if package.kind != "docker" {
        return Err(StagingError::Bits);
    }
    let password = match &package.password_sealed {
        Some(sealed) => settings
            .sealer
            .open(sealed, &package.guid)
            .map_err(StagingError::Password)?
            .into_exposed(),
        None => String::new(),
    };
    let credentials = package
        .username
        .filter(|name| !name.is_empty())
        .map(|username| Credentials { username, password });
    let disk_mb = web.as_ref().map_or(row.disk_mb, |web| web.disk_mb);
    Ok(Job {
        build: row.guid,
        app: app.guid,
        package: package.guid,
        credentials,
        space: SpaceGuid::new(app.space_guid),
        image: package.image,
        run_as: web.as_ref().and_then(|web| web.run_as.clone()),
        command: web
            .and_then(|web| web.command)
            .filter(|command| !command.is_empty()),
        disk_mb: u64::try_from(disk_mb).unwrap_or_default(),
    })
}

async fn resolve(
    settings: &Settings,
    job: &Job,
    lines: &Lines<'_>,
) -> Result<(Reference, Resolved), StagingError> {
    let reference = settings.reference(&job.image).map_err(StagingError::Reference)?;
    let canonical = reference.canonical();
    lines.tell(&format!("Resolving {canonical}"));
    let own = match job.credentials {
        Some(_) => None,
        None => settings.own_credentials(&reference, &job.space),
    };
    let credentials = job.credentials.as_ref().or(own.as_ref());
    let limit = settings.timing.staging_timeout;
    let resolved = settings
        .image
        .resolve(&reference, credentials, &settings.platform);
    let resolved = tokio::time::timeout(limit, resolved)
        .await
        .map_err(|_| StagingError::Slow(limit))??;
    lines.tell(&format!(
        "Resolved {canonical} to {} ({})",
        resolved.manifest_digest, resolved.platform
    ));
    if !settings.image.allow_root_user() {
        check_user(job, &resolved)?;
    }
    check(job, &resolved)?;
    Ok((reference, resolved))
}

fn check_user(job: &Job, resolved: &Resolved) -> Result<(), StagingError> {
    let (whose, user) = match &job.run_as {
        Some(user) => ("the user of the process", user),
        None => ("the image's user", &resolved.config.user),
    };
    if is_root_user(user) {
        return Err(StagingError::Root(whose));
    }
    Ok(())
}

fn check(job: &Job, resolved: &Resolved) -> Result<(), StagingError> {
    if job.command.is_none() && resolved.config.argv().is_empty() {
        return Err(StagingError::NoCommand);
    }
    let bytes = resolved.compressed_size();
    if bytes > job.disk_mb.saturating_mul(MB) {
        return Err(StagingError::TooLarge {
            layers_mb: bytes.div_ceil(MB),
            disk_mb: job.disk_mb,
        });
    }
    Ok(())
}

/// The log of the app, as far as staging writes it.
struct Lines<'a> {
    settings: &'a Settings,
    app: &'a str,
}

impl Lines<'_> {
    fn tell(&self, text: &str) {
        notice::line(self.settings, self.app, (Source::Staging, Tone::Plain), text);
    }

    async fn fail(&self, build: &str, error: &StagingError) -> Result<(), StoreError> {
        let text = error.to_string();
        tracing::info!(build, error = chain(error), "staging failed");
        let tone = (Source::Staging, Tone::Error);
        notice::line(
            self.settings,
            self.app,
            tone,
            &format!("Failed to stage build: {text}"),
        );
        notice::line(self.settings, self.app, tone, "Staging Failed");
        droplet::fail(self.settings, build, &format!("StagingError - {text}")).await
    }

    fn describe(&self, resolved: &Resolved) {
        let config = &resolved.config;
        let mb = resolved.compressed_size() as f64 / MB as f64;
        self.tell(&match resolved.layers.len() {
            1 => format!("1 layer, {mb:.1} MB compressed"),
            count => format!("{count} layers, {mb:.1} MB compressed"),
        });
        let or = |text: &str, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_owned()
            }
        };
        self.tell(&format!(
            "Start command: {}",
            or(&config.argv().join(" "), "none, the app's is used")
        ));
        self.tell(&format!("User: {}", or(&config.user, "root")));
        let port = |p: &model::Port| format!("{}/{}", p.number, droplet::protocol(p.protocol));
        let ports: Vec<String> = config.ports.iter().map(port).collect();
        self.tell(&format!(
            "Ports: {}",
            or(&ports.join(", "), "none exposed, 8080 is used")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_cause_and_remedy_in_one_line() {
        let errors = [
            StagingError::Bits,
            StagingError::NoPackage,
            StagingError::Slow(Duration::from_secs(900)),
            StagingError::NoCommand,
            StagingError::Root("the image's user"),
            StagingError::Settings(serde_json::from_str::<u8>("x").unwrap_err().into()),
            StagingError::TooLarge {
                layers_mb: 3000,
                disk_mb: 1024,
            },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.contains(';'), "{text}");
        }
    }
}
