//! Apps: `apps`, `app`, `rename`, `delete`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::commands::instance;
use crate::commands::summary::{self, Detail};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;

const APP: &[Positional] = &[Positional::Required("APP_NAME")];
/// How many GUIDs go into one address.
const BATCH: usize = 200;
/// Since when the API lists processes together with their instances.
const EMBEDS_INSTANCES: (u64, u64, u64) = (3, 211, 0);

pub const COMMANDS: &[Command] = &[
    Command {
        name: "apps",
        alias: "a",
        summary: "List all apps in the target space",
        usage: "apps [--labels SELECTOR] [--no-stats]",
        group: Group::Apps,
        positionals: &[],
        flags: &[
            Flag::text("labels", "", "Selector to filter apps by labels"),
            Flag::switch("no-stats", "", "Do not retrieve process stats"),
        ],
        run: |session, args| Box::pin(apps(session, args)),
    },
    Command {
        name: "app",
        alias: "",
        summary: "Display health and status for an app",
        usage: "app APP_NAME [--guid]",
        group: Group::Apps,
        positionals: APP,
        flags: &[Flag::switch("guid", "", "Show nothing but the app's guid")],
        run: |session, args| Box::pin(app(session, args)),
    },
    Command {
        name: "rename",
        alias: "",
        summary: "Rename an app",
        usage: "rename APP_NAME NEW_APP_NAME",
        group: Group::Apps,
        positionals: &[
            Positional::Required("APP_NAME"),
            Positional::Required("NEW_APP_NAME"),
        ],
        flags: &[],
        run: |session, args| Box::pin(rename(session, args)),
    },
    Command {
        name: "delete",
        alias: "d",
        summary: "Delete an app",
        usage: "delete APP_NAME [-r] [-f]",
        group: Group::Apps,
        positionals: APP,
        flags: &[
            Flag::switch("", "f", "Force deletion without confirmation"),
            Flag::switch("", "r", "Also delete any mapped routes"),
        ],
        run: |session, args| Box::pin(delete(session, args)),
    },
];

async fn apps(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    ui.line(&format!("Getting apps {}...\n", session.place("in", &target)));
    let space = target.space.guid.as_str();
    let mut query = vec![("space_guids", space), ("order_by", "name"), ("per_page", "5000")];
    query.extend(args.value("labels").map(|labels| ("label_selector", labels)));
    let apps = session.api.list("/v3/apps", &query).await?;
    if apps.is_empty() {
        ui.line("No apps found");
        return Ok(());
    }
    let stats = !args.has("no-stats");
    let (processes, routes) = tokio::try_join!(
        async {
            if stats {
                processes(session, space).await
            } else {
                Ok(BTreeMap::new())
            }
        },
        routes(session, &apps),
    )?;
    let mut table = Table::with_header(match stats {
        true => &["name", "requested state", "processes", "routes"],
        false => &["name", "requested state", "routes"],
    });
    for app in &apps {
        let mut row = vec![app.name().to_owned(), app.text("/state").to_lowercase()];
        if stats {
            row.push(
                processes
                    .get(app.guid())
                    .map(|all| all.join(", "))
                    .unwrap_or_default(),
            );
        }
        row.push(
            routes
                .get(app.guid())
                .map(|all| all.join(", "))
                .unwrap_or_default(),
        );
        table.row(row);
    }
    table.print(ui);
    Ok(())
}

/// "web:1/1" and so on, by app; the web process first.
async fn processes(session: &Session, space: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let embeds = session.api.is_at_least(EMBEDS_INSTANCES);
    let mut query = vec![("space_guids", space), ("per_page", "5000")];
    query.extend(embeds.then_some(("embed", "process_instances")));
    let mut all = session.api.list("/v3/processes", &query).await?;
    all.sort_by_key(|process| (process.text("/type") != "web", process.text("/type").to_owned()));
    let mut by_app: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for process in &all {
        let ratio = if embeds {
            instance::ratio(process.items("/process_instances"))
        } else {
            let stats = session
                .api
                .get(&format!("/v3/processes/{}/stats", process.guid()), &[])
                .await?;
            instance::ratio(stats.items("/resources"))
        };
        let app = process.text("/relationships/app/data/guid").to_owned();
        by_app
            .entry(app)
            .or_default()
            .push(format!("{}:{ratio}", process.text("/type")));
    }
    Ok(by_app)
}

/// The addresses of apps, by app.
async fn routes(session: &Session, apps: &[Value]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut by_app: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for batch in apps.chunks(BATCH) {
        let guids = batch.iter().map(Json::guid).collect::<Vec<_>>().join(",");
        for route in session
            .api
            .list("/v3/routes", &[("app_guids", &guids), ("per_page", "5000")])
            .await?
        {
            let mut mapped: Vec<&str> = route
                .items("/destinations")
                .iter()
                .map(|d| d.text("/app/guid"))
                .collect();
            mapped.sort_unstable();
            mapped.dedup();
            for app in mapped {
                by_app
                    .entry(app.to_owned())
                    .or_default()
                    .push(route.text("/url").to_owned());
            }
        }
    }
    Ok(by_app)
}

async fn app(session: &Session, args: &Args) -> Result<()> {
    let target = session.target()?;
    if args.has("guid") {
        session
            .ui
            .line(session.app(args.at(0), &target.space.guid).await?.guid());
        return Ok(());
    }
    session.announce("Showing health and status for app", args.at(0), &target);
    summary::print(session, args.at(0), &target, Detail::Brief).await
}

async fn rename(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let (old, new) = (ui.name(args.at(0)), ui.name(args.at(1)));
    ui.line(&format!(
        "Renaming app {old} to {new} {}...\n",
        session.place("in", &target)
    ));
    let app = session.app(args.at(0), &target.space.guid).await?;
    session
        .api
        .patch(
            &format!("/v3/apps/{}", app.guid()),
            &json!({ "name": args.at(1) }),
        )
        .await?;
    ui.ok();
    Ok(())
}

async fn delete(session: &Session, args: &Args) -> Result<()> {
    let (ui, target, name) = (&session.ui, session.target()?, args.at(0));
    if !args.has("f") {
        let mut question = format!("Really delete the app {name}?");
        if args.has("r") {
            ui.line("Deleting the app and associated routes will make apps with this route, in any org, unreachable.");
            question = format!("Really delete the app {name} and associated routes?");
        }
        if !ui.confirm(&question)? {
            ui.line(&format!("App '{name}' has not been deleted."));
            return Ok(());
        }
    }
    ui.line(&format!(
        "Deleting app {} {}...",
        ui.name(name),
        session.place("in", &target)
    ));
    let app = match session.app(name, &target.space.guid).await {
        Err(Error::NotFound(_)) => {
            ui.warn(&format!("App '{name}' does not exist."));
            ui.ok();
            return Ok(());
        }
        outcome => outcome?,
    };
    let routes = match args.has("r") {
        true => {
            session
                .api
                .list(&format!("/v3/apps/{}/routes", app.guid()), &[])
                .await?
        }
        false => Vec::new(),
    };
    if let Some(shared) = routes.iter().find(|route| is_shared(route, app.guid())) {
        return Err(Error::Message(format!(
            "App '{name}' was not deleted because route '{}' is mapped to more than one app.\n\nTIP: Run '{program} \
             delete {name}' to delete the app and '{program} delete-route' to delete the route.",
            shared.text("/url"),
            program = session.program,
        )));
    }
    session
        .api
        .delete(&format!("/v3/apps/{}", app.guid()), &[])
        .await?;
    for route in &routes {
        match session
            .api
            .delete(&format!("/v3/routes/{}", route.guid()), &[])
            .await
        {
            Err(error) if error.is_not_found() => {}
            outcome => outcome?,
        }
    }
    ui.ok();
    Ok(())
}

fn is_shared(route: &Value, app: &str) -> bool {
    route
        .items("/destinations")
        .iter()
        .any(|destination| destination.text("/app/guid") != app)
}
