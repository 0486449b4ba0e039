//! Making the world like a manifest. First every app is checked and missing ones are made, then each is brought to its
//! wish; a failure in the second part is the job's, and leaves that app as it was.

use auth::random_hex;
use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::response::Response;
use serde_json::json;
use store::{Query, Tx, app, destination, domain, process, route, space};

use super::document::{AppWish, CheckWish, Docker, ProcessWish, RouteDefault, read};
use crate::app::{DOCKER, Draft, STARTED, target};
use crate::caller::{Caller, Right};
use crate::env::{self, Variables};
use crate::error::ApiError;
use crate::present::write_metadata;
use crate::process_change::{self, Change, CheckChange, CheckData, Scale};
use crate::route_rules;
use crate::{
    State, desired, destination as destinations, domain as domains, event, flag, job, notice, route as routes,
};

const NO_IMAGE: &str = "No image is given. Source code is not built by this platform: build an image of the app and push \
                        it with --docker-image (-o), or name it as docker.image in the manifest";

pub(super) async fn apply(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let wishes = read(&body)?;
    let tx = state.store.write().await?;
    let space = caller.demand(&tx, Right::Write, &guid, "Space").await?;
    check(&tx, &space, &wishes).await?;
    let mut apps = Vec::new();
    let mut made = Vec::new();
    for wish in &wishes {
        let (app, new) = find_or_create(&state, &tx, &caller, &space, wish)
            .await
            .map_err(|e| headed(&wish.name, &e))?;
        if new {
            made.push(app.guid.clone());
        }
        let data = json!({"request": {"manifest": "[PRIVATE DATA HIDDEN]"}});
        event::record(
            &tx,
            &caller,
            "audit.app.apply_manifest",
            target(&app, &space),
            data,
        )
        .await?;
        apps.push(app);
    }
    tx.commit().await?;
    for guid in made {
        notice::api(&state, &guid, format!("Created app with guid {guid}"));
    }
    let outcome = bring_all(&state, &caller, &space, &wishes, apps).await;
    let tx = state.store.write().await?;
    let job = match outcome {
        Ok(()) => job::done(&tx, &caller, "space.apply_manifest").await?,
        Err(error) => job::failed(&tx, &caller, "space.apply_manifest", &error).await?,
    };
    tx.commit().await?;
    Ok(job.response(&state))
}

/// The same error under the app's heading.
fn headed(name: &str, error: &ApiError) -> ApiError {
    ApiError::unprocessable_all(
        error
            .details()
            .map(|detail| format!("For application '{name}': {detail}"))
            .collect(),
    )
}

/// What can be known before anything is changed.
pub(super) async fn check(tx: &Tx, space: &space::Model, wishes: &[AppWish]) -> Result<(), ApiError> {
    let mut problems = Vec::new();
    let disabled = flag::disabled_message(tx, "diego_docker").await?;
    for wish in wishes {
        let mut tell = |text: String| problems.push(format!("For application '{}': {text}", wish.name));
        if let Some(message) = disabled.as_ref().filter(|_| wish.docker.is_some()) {
            tell(format!("Feature Disabled: {message}"));
        }
        if wishes.iter().filter(|other| other.name == wish.name).count() > 1 {
            tell("Application names must be unique in a manifest".to_owned());
        }
        if let Err(found) = env::merge(&mut Variables::new(), wish.env.clone()) {
            found.into_iter().for_each(&mut tell);
        }
        if let Some(app) = named(tx, space, &wish.name).await? {
            match (&wish.docker, app.lifecycle.as_str()) {
                (Some(_), kind) if kind != DOCKER => {
                    tell("Docker cannot be configured for a buildpack lifecycle app.".to_owned());
                }
                (None, DOCKER) if wish.lifecycle.as_deref().is_some_and(|kind| kind != DOCKER) => {
                    tell("Buildpacks cannot be configured for a docker lifecycle app.".to_owned());
                }
                _ => {}
            }
        } else if wish.docker.is_none() && wish.lifecycle.as_deref() != Some(DOCKER) {
            // A buildpack app could be made, but nothing would ever run in it: told before it is there.
            tell(NO_IMAGE.to_owned());
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ApiError::unprocessable_all(problems))
    }
}

/// The app of this name in the space.
pub(super) async fn named(tx: &Tx, space: &space::Model, name: &str) -> Result<Option<app::Model>, ApiError> {
    let query = Query::<app::Entity>::new()
        .eq(app::Column::SpaceGuid, &space.guid)
        .eq(app::Column::Name, name);
    Ok(tx.one(query).await?)
}

async fn find_or_create(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    space: &space::Model,
    wish: &AppWish,
) -> Result<(app::Model, bool), ApiError> {
    if let Some(app) = named(tx, space, &wish.name).await? {
        return Ok((app, false));
    }
    let lifecycle = match (&wish.docker, &wish.lifecycle) {
        (Some(Docker { .. }), _) => DOCKER.to_owned(),
        (None, Some(kind)) => kind.clone(),
        (None, None) => "buildpack".to_owned(),
    };
    let draft = Draft {
        name: wish.name.clone(),
        space: space.clone(),
        lifecycle,
        variables: Variables::new(),
    };
    Ok((crate::app::insert(state, tx, caller, draft).await?, true))
}

async fn bring_all(
    state: &State,
    caller: &Caller,
    space: &space::Model,
    wishes: &[AppWish],
    apps: Vec<app::Model>,
) -> Result<(), ApiError> {
    for (wish, app) in wishes.iter().zip(apps) {
        let tx = state.store.write().await?;
        bring(state, &tx, caller, space, (wish, app))
            .await
            .map_err(|error| headed(&wish.name, &error))?;
        tx.commit().await?;
    }
    Ok(())
}

async fn bring(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    space: &space::Model,
    (wish, mut app): (&AppWish, app::Model),
) -> Result<(), ApiError> {
    for (name, on) in &wish.features {
        match name.as_str() {
            "ssh" => app.ssh_enabled = *on,
            _ => app.revisions_enabled = *on,
        }
    }
    for process in &wish.processes {
        bring_process(state, tx, &app, process).await?;
    }
    if !wish.env.is_empty() {
        let mut variables = env::open(state, &app)?;
        env::merge(&mut variables, wish.env.clone()).map_err(ApiError::unprocessable_all)?;
        app.env_sealed = env::seal(state, &app.guid, &variables);
    }
    let app = tx.update::<app::Entity>(app).await?;
    write_metadata(tx, &app.guid, wish.metadata.as_ref()).await?;
    bring_routes(state, tx, caller, space, (wish, &app)).await
}

async fn bring_process(state: &State, tx: &Tx, app: &app::Model, wish: &ProcessWish) -> Result<(), ApiError> {
    let query = Query::<process::Entity>::new()
        .eq(process::Column::AppGuid, &app.guid)
        .eq(process::Column::Kind, &wish.kind);
    let mut row = match tx.one(query).await? {
        Some(row) => row,
        None => {
            tx.insert::<process::Entity>(crate::process::draft(&state.settings, &app.guid, &wish.kind))
                .await?
        }
    };
    let scale = Scale {
        instances: wish.instances,
        memory_in_mb: wish.memory_mb,
        disk_in_mb: wish.disk_mb,
        log_rate_limit_in_bytes_per_second: wish.log_rate_limit,
    };
    let change = Change {
        command: wish.command.clone(),
        user: wish.user.clone(),
        health_check: check_change(&wish.health),
        readiness_health_check: check_change(&wish.readiness),
        metadata: None,
    };
    let had = row.instances;
    let mut problems = process_change::resize(&state.settings, &mut row, &scale)
        .err()
        .unwrap_or_default();
    problems.extend(process_change::apply(&mut row, change).err().unwrap_or_default());
    if !problems.is_empty() {
        return Err(ApiError::unprocessable_all(problems));
    }
    if had == 0 && row.instances > 0 && app.state == STARTED {
        desired::demand_user(state, tx, app, &row).await?;
    }
    tx.update::<process::Entity>(row).await?;
    Ok(())
}

fn check_change(wish: &CheckWish) -> Option<CheckChange> {
    (!wish.is_empty()).then(|| CheckChange {
        kind: wish.kind.clone(),
        data: CheckData {
            timeout: wish.timeout.map(Some),
            invocation_timeout: wish.invocation_timeout.map(Some),
            interval: wish.interval.map(Some),
            endpoint: wish.endpoint.clone().map(Some),
        },
    })
}

async fn bring_routes(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    space: &space::Model,
    (wish, app): (&AppWish, &app::Model),
) -> Result<(), ApiError> {
    if wish.route_default == RouteDefault::None {
        let mapped = Query::<destination::Entity>::new().eq(destination::Column::AppGuid, &app.guid);
        tx.delete_where(mapped).await?;
        return Ok(());
    }
    for listed in &wish.routes {
        let route = find_or_create_route(state, tx, caller, space, &listed.route).await?;
        map(tx, &route, app, listed.protocol.as_deref()).await?;
    }
    let host = match wish.route_default {
        RouteDefault::Default => default_host(&app.name),
        RouteDefault::Random => format!(
            "{}-{}",
            default_host(&app.name),
            random_hex().get(..6).unwrap_or_default()
        ),
        RouteDefault::Keep | RouteDefault::None => return Ok(()),
    };
    if routes::has_any(tx, app).await? {
        return Ok(());
    }
    let domain = domains::default(tx, &space.org_guid).await?;
    let domain = domain.ok_or_else(|| ApiError::unprocessable("No default domains available"))?;
    let route = own_route(state, tx, caller, (space, &domain), (host, String::new())).await?;
    map(tx, &route, app, None).await
}

/// An app's name as a host name: what is no letter, digit or hyphen goes.
fn default_host(name: &str) -> String {
    let keep = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '-' => Some(c.to_ascii_lowercase()),
        '_' | ' ' | '.' => Some('-'),
        _ => None,
    };
    name.chars()
        .filter_map(keep)
        .take(63)
        .collect::<String>()
        .trim_matches('-')
        .to_owned()
}

async fn map(
    tx: &Tx,
    route: &route::Model,
    app: &app::Model,
    protocol: Option<&str>,
) -> Result<(), ApiError> {
    let draft = destinations::Draft {
        app_guid: &app.guid,
        process_type: "web",
        port: None,
        protocol: protocol.unwrap_or("http1"),
    };
    destinations::map(tx, route, draft).await
}

async fn find_or_create_route(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    space: &space::Model,
    text: &str,
) -> Result<route::Model, ApiError> {
    let invalid = || ApiError::unprocessable(format!("The route '{text}' is not a properly formed URL"));
    let bare = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .unwrap_or(text);
    let (name, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
    let name = name.to_lowercase();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == ':') {
        return Err(invalid());
    }
    let mut known = domains::all_of_org(tx, &space.org_guid).await?;
    // The longest domain wins: a.b.example.org is host a of b.example.org when that is a domain.
    known.sort_by_key(|domain| std::cmp::Reverse(domain.name.len()));
    let hit = known.iter().find_map(|domain| {
        let host = if name == domain.name {
            Some("")
        } else {
            name.strip_suffix(&format!(".{}", domain.name))
        };
        host.map(|host| (domain, host.to_owned()))
    });
    let Some((domain, host)) = hit else {
        return Err(ApiError::unprocessable(format!(
            "The route '{text}' did not match any existing domains. Create the domain first, or use one that 'cf domains' lists"
        )));
    };
    own_route(
        state,
        tx,
        caller,
        (space, domain),
        (host, path.trim_end_matches('/').to_owned()),
    )
    .await
}

async fn own_route(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    (space, domain): (&space::Model, &domain::Model),
    (host, path): (String, String),
) -> Result<route::Model, ApiError> {
    let same = Query::<route::Entity>::new()
        .eq(route::Column::DomainGuid, &domain.guid)
        .eq(route::Column::Host, &host)
        .eq(route::Column::Path, &path);
    match tx.one(same).await? {
        Some(row) if row.space_guid == space.guid => Ok(row),
        Some(_) => Err(ApiError::unprocessable(
            "Routes cannot be mapped to destinations in different spaces",
        )),
        None => {
            let draft = route_rules::Draft {
                space,
                domain,
                host,
                path,
                options: String::new(),
            };
            route_rules::insert(state, tx, caller, draft).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::default_host;

    #[test]
    fn hosts_come_from_names() {
        for (name, host) in [
            ("shop", "shop"),
            ("My Shop_2", "my-shop-2"),
            ("-x-", "x"),
            ("ünï", "n"),
        ] {
            assert_eq!(default_host(name), host);
        }
    }
}
