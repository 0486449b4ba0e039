//! `push`: from an image to a running app.
//!
//! The manifest (file, flags, or both) is applied to the space, which creates the apps; then each app gets a package,
//! a droplet and a start, in order. What the steps send is in `steps`, what the flags mean in `flags`.

mod flags;
mod steps;

use serde_json::Value;

use crate::Secret;
use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Positional};
use crate::json::Json;
use crate::manifest::{self, Manifest, Variables};
use crate::session::{Session, Target, listed};

use flags::Flags;
use steps::Pushed;

pub const COMMANDS: &[Command] = &[Command {
    name: "push",
    alias: "p",
    summary: "Push a new app or sync changes to an existing app",
    usage: "push APP_NAME --docker-image [REGISTRY_HOST:PORT/]IMAGE[:TAG] [--docker-username USERNAME]\n   \
            [-c COMMAND] [-f MANIFEST_PATH | --no-manifest] [--no-start] [--no-wait] [-i NUM_INSTANCES]\n   \
            [-k DISK] [-m MEMORY] [-l LOG_RATE_LIMIT] [-t HEALTH_TIMEOUT] [-u (process | port | http)]\n   \
            [--no-route | --random-route] [--var KEY=VALUE]... [--vars-file VARS_FILE_PATH]...\n\
            push [APP_NAME] [-f MANIFEST_PATH]",
    group: Group::Apps,
    positionals: &[Positional::Optional],
    flags: flags::FLAGS,
    run: |session, args| Box::pin(push(session, args)),
}];

async fn push(session: &Session, args: &Args) -> Result<()> {
    let flags = Flags::read(args)?;
    let target = session.target()?;
    let manifest = flags.overrides.apply(base(session, args)?)?;
    // A deployment takes the sizes itself, so that the running instances keep theirs until they are replaced.
    let scaled = flags.overrides.apply_scale(manifest.clone())?;
    let applied = if flags.plan.is_some() {
        manifest
    } else {
        scaled.clone()
    };
    check_images(&applied)?;
    let password = registry_password(session, &applied)?;
    let (ui, names) = (&session.ui, applied.names());
    let what = if names.len() == 1 { "app" } else { "apps" };
    ui.line(&format!(
        "Pushing {what} {} {}...",
        ui.name(&names.join(", ")),
        session.place("to", &target)
    ));
    apply(session, &target, &applied, &scaled).await?;
    let apps = created(session, &target, &names).await?;
    for ((name, (image, username)), app) in names.iter().zip(applied.images()).zip(&apps) {
        if names.len() > 1 {
            ui.line(&format!("\n{}", ui.bold(&format!("App {name}"))));
        }
        let pushed = Pushed {
            app,
            image,
            username,
            password: &password,
        };
        steps::run(session, &target, &flags, pushed).await?;
    }
    Ok(())
}

/// The manifest before the flags: the file given, the one found here, or none.
fn base(session: &Session, args: &Args) -> Result<Manifest> {
    if args.has("no-manifest") {
        return Ok(Manifest::of_app(args.at(0)));
    }
    match Manifest::locate(&session.directory, args.value("manifest"))? {
        Some(path) => {
            let variables = Variables::collect(&session.directory, args.all("vars-file"), args.all("var"))?;
            Manifest::read(&path, &variables)
        }
        None => Ok(Manifest::of_app(args.at(0))),
    }
}

/// Refuses before anything has changed what could only fail after.
fn check_images(manifest: &Manifest) -> Result<()> {
    let images = manifest.images();
    let Some((name, _)) = manifest
        .names()
        .into_iter()
        .zip(images)
        .find(|(_, (image, _))| image.is_empty())
    else {
        return Ok(());
    };
    Err(Error::Usage(format!(
        "app '{name}' has no image: give one with --docker-image, or as docker.image in the manifest (source code is \
         not built here; build an image of it first)"
    )))
}

fn registry_password(session: &Session, manifest: &Manifest) -> Result<Secret> {
    if manifest.images().iter().all(|(_, username)| username.is_empty()) {
        return Ok(Secret::default());
    }
    if session.docker_password.is_empty() {
        session
            .ui
            .line("Environment variable CF_DOCKER_PASSWORD not set.");
        return session.ui.prompt_password("Docker password");
    }
    session
        .ui
        .line("Using docker repository password from environment variable CF_DOCKER_PASSWORD.");
    Ok(session.docker_password.clone())
}

/// Applies the manifest to the space. With a file, what changes is shown first.
async fn apply(session: &Session, target: &Target, applied: &Manifest, scaled: &Manifest) -> Result<()> {
    let (ui, api, space) = (&session.ui, &session.api, &target.space.guid);
    if let Some(path) = &applied.path {
        ui.line(&format!(
            "Applying manifest file {}...",
            ui.name(&path.display().to_string())
        ));
        match api
            .post_yaml(&format!("/v3/spaces/{space}/manifest_diff"), &scaled.to_yaml()?)
            .await
        {
            Ok(reply) => {
                ui.line("\nUpdating with these attributes...");
                manifest::print_diff(ui, &scaled.document(), &reply.json()?);
            }
            Err(Error::Unexpected { .. }) => {
                ui.warn("Unable to generate diff. Continuing to apply manifest...");
            }
            Err(error) => return Err(error),
        }
    }
    let reply = api
        .post_yaml(
            &format!("/v3/spaces/{space}/actions/apply_manifest"),
            &applied.to_yaml()?,
        )
        .await?;
    api.finish_verbatim(&reply).await?;
    if applied.path.is_some() {
        ui.line("Manifest applied");
    }
    Ok(())
}

/// The apps of the manifest, in its order; applying it has created those that were missing.
async fn created(session: &Session, target: &Target, names: &[&str]) -> Result<Vec<Value>> {
    let filter = names
        .iter()
        .map(|name| listed(name))
        .collect::<Vec<_>>()
        .join(",");
    let found = session
        .api
        .list(
            "/v3/apps",
            &[("names", &filter), ("space_guids", &target.space.guid)],
        )
        .await?;
    let find = |name: &&str| found.iter().find(|app| app.name() == *name).cloned();
    let apps: Option<Vec<Value>> = names.iter().map(find).collect();
    apps.ok_or_else(|| Error::NotFound("One or more applications were not found.".into()))
}
