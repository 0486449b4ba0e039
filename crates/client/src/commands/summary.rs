//! The summary of an app: what `app`, and the end of `push`, `start`, `scale`, show.

use futures_util::future::try_join_all;
use serde_json::Value;

use crate::commands::instance;
use crate::error::Result;
use crate::json::Json;
use crate::session::{Session, Target};
use crate::table::Table;
use crate::time;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Without start commands.
    Brief,
    /// With start commands, which lists hide, so each process is read by itself.
    Full,
}

struct Process {
    resource: Value,
    sidecars: Vec<Value>,
    instances: Vec<Value>,
}

/// Prints the summary of an app.
///
/// # Errors
/// Those of the API.
pub async fn print(session: &Session, name: &str, target: &Target, detail: Detail) -> Result<()> {
    let app = session.app(name, &target.space.guid).await?;
    let (processes, routes, droplet, deployment) = tokio::try_join!(
        processes(session, app.guid(), detail),
        routes(session, app.guid()),
        droplet(session, app.guid()),
        deployment(session, app.guid()),
    )?;
    head(session, &app, &routes, &droplet);
    for process in &processes {
        session.ui.line("");
        body(session, process, detail);
    }
    if let Some(deployment) = deployment {
        active(session, name, &deployment);
    }
    Ok(())
}

async fn processes(session: &Session, app: &str, detail: Detail) -> Result<Vec<Process>> {
    let listed = session
        .api
        .list(&format!("/v3/apps/{app}/processes"), &[])
        .await?;
    let mut all = try_join_all(
        listed
            .into_iter()
            .map(|resource| process(session, resource, detail)),
    )
    .await?;
    // The web process first, the others by name.
    all.sort_by_key(|process| {
        let kind = process.resource.text("/type").to_owned();
        (kind != "web", kind)
    });
    Ok(all)
}

async fn process(session: &Session, resource: Value, detail: Detail) -> Result<Process> {
    let path = format!("/v3/processes/{}", resource.guid());
    let (sidecars, stats) = (format!("{path}/sidecars"), format!("{path}/stats"));
    let whole = async {
        match detail {
            Detail::Full => session.api.get(&path, &[]).await,
            Detail::Brief => Ok(resource.clone()),
        }
    };
    let (resource, sidecars, stats) = tokio::try_join!(
        whole,
        session.api.list(&sidecars, &[]),
        session.api.get(&stats, &[])
    )?;
    Ok(Process {
        resource,
        sidecars,
        instances: stats.items("/resources").to_vec(),
    })
}

async fn routes(session: &Session, app: &str) -> Result<Vec<Value>> {
    session.api.list(&format!("/v3/apps/{app}/routes"), &[]).await
}

async fn droplet(session: &Session, app: &str) -> Result<Value> {
    match session
        .api
        .get(&format!("/v3/apps/{app}/droplets/current"), &[])
        .await
    {
        Err(error) if error.is_not_found() => Ok(Value::Null),
        outcome => outcome,
    }
}

async fn deployment(session: &Session, app: &str) -> Result<Option<Value>> {
    let query = [
        ("app_guids", app),
        ("status_values", "ACTIVE"),
        ("order_by", "-created_at"),
    ];
    session.first("/v3/deployments", &query).await
}

fn head(session: &Session, app: &Value, routes: &[Value], droplet: &Value) {
    let mut table = Table::of_pairs();
    table.pair("name:", app.name());
    table.pair("requested state:", app.text("/state").to_lowercase());
    table.pair(
        "routes:",
        routes
            .iter()
            .map(|route| route.text("/url"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    table.pair(
        "last uploaded:",
        time::friendly(droplet.text("/created_at"), &session.zone),
    );
    table.pair("stack:", droplet.text("/stack"));
    if app.text("/lifecycle/type") == "docker" {
        table.pair("docker image:", droplet.text("/image"));
    } else {
        let packs = droplet
            .items("/buildpacks")
            .iter()
            .map(Json::name)
            .collect::<Vec<_>>();
        table.pair("buildpacks:", packs.join(", "));
    }
    table.print(&session.ui);
}

fn body(session: &Session, process: &Process, detail: Detail) {
    let mut table = Table::of_pairs();
    let Process {
        resource,
        sidecars,
        instances,
    } = process;
    table.pair("type:", resource.text("/type"));
    table.pair(
        "sidecars:",
        sidecars.iter().map(Json::name).collect::<Vec<_>>().join(", "),
    );
    table.pair("instances:", instance::ratio(instances));
    table.pair("memory usage:", format!("{}M", resource.number("/memory_in_mb")));
    let command = resource.text("/command");
    if detail == Detail::Full && !command.is_empty() {
        table.pair("start command:", command);
    }
    table.print(&session.ui);
    if instances.is_empty() {
        session.ui.line("There are no running instances of this process.");
    } else {
        instance::table(session, instances).print(&session.ui);
    }
}

fn active(session: &Session, app: &str, deployment: &Value) {
    let (ui, program) = (&session.ui, &session.program);
    let (reason, changed) = (
        deployment.text("/status/reason"),
        deployment.text("/status/details/last_status_change"),
    );
    let since = time::friendly(changed, &session.zone);
    let since = if since.is_empty() {
        ".".to_owned()
    } else {
        format!(" (since {since})")
    };
    ui.line(&format!("\nActive deployment with status {reason}{since}"));
    let mut table = Table::of_pairs();
    table.pair("strategy:", deployment.text("/strategy").to_lowercase());
    if deployment.number("/options/max_in_flight") > 0 {
        table.pair(
            "max-in-flight:",
            deployment.number("/options/max_in_flight").to_string(),
        );
    }
    if deployment.number("/status/canary/steps/total") > 0 {
        let step = |which: &str| deployment.number(&format!("/status/canary/steps/{which}"));
        table.pair("canary-steps:", format!("{}/{}", step("current"), step("total")));
    }
    table.print(ui);
    if deployment.text("/strategy") == "canary" && reason == "PAUSED" {
        ui.line(&format!(
            "\nPlease run `{program} continue-deployment {app}` to promote the canary deployment, or `{program} \
             cancel-deployment {app}` to rollback to the previous version."
        ));
    }
}
