//! Routes: `routes`, `create-route`, `map-route`, `unmap-route`, `delete-route`, `delete-orphaned-routes`.

mod address;
mod list;

use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Kind, Positional};
use crate::json::Json;
use crate::session::Session;

use address::Address;

const DOMAIN: Positional = Positional::Required("DOMAIN");
const APP: Positional = Positional::Required("APP_NAME");
const HOST: Flag = Flag::text(
    "hostname",
    "n",
    "Hostname for the HTTP route (required for shared domains)",
);
const PATH: Flag = Flag::text("path", "", "Path for the HTTP route");
const PORT: Flag = Flag::value(
    "port",
    "",
    Kind::Positive,
    "Port for the TCP route (default: random port)",
);
const OPTION: Flag = Flag::many(
    "option",
    "o",
    "Set the value of a per-route option, e.g. loadbalancing=round-robin",
);
const FORCE: Flag = Flag::switch("", "f", "Force deletion without confirmation");

pub const COMMANDS: &[Command] = &[
    Command {
        name: "routes",
        alias: "r",
        summary: "List all routes in the current space or the current organization",
        usage: "routes [--org-level] [--labels SELECTOR]",
        group: Group::Routes,
        positionals: &[],
        flags: &[
            Flag::switch(
                "org-level",
                "",
                "List all the routes for all spaces of current organization",
            ),
            Flag::text("labels", "", "Selector to filter routes by labels"),
        ],
        run: |session, args| Box::pin(list::routes(session, args)),
    },
    Command {
        name: "create-route",
        alias: "",
        summary: "Create a route for later use",
        usage: "create-route DOMAIN [--hostname HOSTNAME] [--path PATH] [--port PORT] [--option KEY=VALUE]...",
        group: Group::Routes,
        positionals: &[DOMAIN],
        flags: &[HOST, PATH, PORT, OPTION],
        run: |session, args| Box::pin(create(session, args)),
    },
    Command {
        name: "map-route",
        alias: "",
        summary: "Map a route to an app",
        usage: "map-route APP_NAME DOMAIN [--hostname HOSTNAME] [--path PATH] [--port PORT] [--app-protocol PROTOCOL] [--app-port PORT]",
        group: Group::Routes,
        positionals: &[APP, DOMAIN],
        flags: &[
            HOST,
            PATH,
            PORT,
            OPTION,
            Flag::text(
                "app-protocol",
                "",
                "Protocol for the route destination: http1 (default) or http2",
            ),
            Flag::value(
                "app-port",
                "",
                Kind::Positive,
                "App port for the route destination (default: the app's own)",
            ),
        ],
        run: |session, args| Box::pin(map(session, args)),
    },
    Command {
        name: "unmap-route",
        alias: "",
        summary: "Remove a route from an app",
        usage: "unmap-route APP_NAME DOMAIN [--hostname HOSTNAME] [--path PATH] [--port PORT]",
        group: Group::Routes,
        positionals: &[APP, DOMAIN],
        flags: &[HOST, PATH, PORT],
        run: |session, args| Box::pin(unmap(session, args)),
    },
    Command {
        name: "delete-route",
        alias: "",
        summary: "Delete a route",
        usage: "delete-route DOMAIN [--hostname HOSTNAME] [--path PATH] [--port PORT] [-f]",
        group: Group::Routes,
        positionals: &[DOMAIN],
        flags: &[HOST, PATH, PORT, FORCE],
        run: |session, args| Box::pin(delete(session, args)),
    },
    Command {
        name: "delete-orphaned-routes",
        alias: "",
        summary: "Delete all routes of the space that are not mapped to an app",
        usage: "delete-orphaned-routes [-f]",
        group: Group::Routes,
        positionals: &[],
        flags: &[FORCE],
        run: |session, args| Box::pin(delete_orphaned(session, args)),
    },
];

fn options(args: &Args) -> Result<Map<String, Value>> {
    let pair = |option: &String| match option.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), json!(value))),
        None => Err(Error::Usage(format!(
            "route option '{option}' is not of the form key=value"
        ))),
    };
    args.all("option").iter().map(pair).collect()
}

async fn create(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let address = Address::of(args, args.at(0));
    ui.line(&format!(
        "Creating route {} {}...",
        ui.name(&address.url()),
        session.place("for", &target)
    ));
    let options = options(args)?;
    let domain = session.domain(args.at(0)).await?;
    match address
        .create(session, &domain, &target.space.guid, options)
        .await
    {
        Ok(route) => ui.line(&format!("Route {} has been created.", route.text("/url"))),
        Err(error) if error.is_unprocessable(|detail| detail.contains("Route already exists")) => {
            ui.warn(&error.to_string());
        }
        Err(error) => return Err(error),
    }
    ui.ok();
    Ok(())
}

async fn map(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let address = Address::of(args, args.at(1));
    let options = options(args)?;
    let domain = session.domain(args.at(1)).await?;
    let app = session.app(args.at(0), &target.space.guid).await?;
    let route = match address.find(session, &domain).await? {
        Some(_) if !options.is_empty() => {
            return Err(Error::message(
                "Route specific options can only be specified for nonexistent routes.",
            ));
        }
        Some(route) => route,
        None => {
            ui.line(&format!(
                "Creating route {} {}...",
                ui.name(&address.url()),
                session.place("for", &target)
            ));
            let route = address
                .create(session, &domain, &target.space.guid, options)
                .await?;
            ui.ok();
            route
        }
    };
    let (url, app_name) = (ui.name(route.text("/url")), ui.name(args.at(0)));
    let protocol = args.text("app-protocol");
    let with = if protocol.is_empty() {
        String::new()
    } else {
        format!(" with protocol {}", ui.name(protocol))
    };
    ui.line(&format!(
        "Mapping route {url} to app {app_name}{with} {}...",
        session.place("in", &target)
    ));
    if destination(&route, app.guid()).is_some() {
        ui.line(&format!(
            "App '{}' is already mapped to route '{}'. Nothing has been updated.",
            args.at(0),
            route.text("/url")
        ));
        ui.ok();
        return Ok(());
    }
    let destination = wanted(args, app.guid());
    let path = format!("/v3/routes/{}/destinations", route.guid());
    session
        .api
        .post(&path, &json!({ "destinations": [destination] }))
        .await?;
    ui.ok();
    Ok(())
}

/// The destination that a command line asks for.
fn wanted(args: &Args, app: &str) -> Map<String, Value> {
    let mut destination = Map::from_iter([("app".to_owned(), json!({ "guid": app }))]);
    if let Some(protocol) = args.value("app-protocol") {
        destination.insert("protocol".into(), json!(protocol));
    }
    if let Some(port) = args.count("app-port") {
        destination.insert("port".into(), json!(port));
    }
    destination
}

async fn unmap(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let address = Address::of(args, args.at(1));
    let domain = session.domain(args.at(1)).await?;
    let app = session.app(args.at(0), &target.space.guid).await?;
    let route = address
        .find(session, &domain)
        .await?
        .ok_or_else(|| address.missing())?;
    let (url, app_name) = (ui.name(&address.url()), ui.name(args.at(0)));
    ui.line(&format!(
        "Removing route {url} from app {app_name} {}...",
        session.place("in", &target)
    ));
    match destination(&route, app.guid()) {
        Some(destination) => {
            session
                .api
                .delete(
                    &format!("/v3/routes/{}/destinations/{destination}", route.guid()),
                    &[],
                )
                .await?;
        }
        None => ui.line("Route to be unmapped is not currently mapped to the application."),
    }
    ui.ok();
    Ok(())
}

/// The GUID of the destination that is the app's web process.
fn destination<'a>(route: &'a Value, app: &str) -> Option<&'a str> {
    let web = |d: &&Value| d.text("/app/guid") == app && matches!(d.text("/app/process/type"), "web" | "");
    route.items("/destinations").iter().find(web).map(Json::guid)
}

async fn delete(session: &Session, args: &Args) -> Result<()> {
    let ui = &session.ui;
    session.user()?;
    let address = Address::of(args, args.at(0));
    if !args.has("f") {
        ui.line("This action impacts all apps using this route.");
        ui.line("Deleting this route will make apps unreachable via this route.");
        if !ui.confirm(&format!("Really delete the route {}?", address.url()))? {
            ui.line(&format!("'{}' has not been deleted.", address.url()));
            return Ok(());
        }
    }
    ui.line(&format!("Deleting route {}...", ui.name(&address.url())));
    let domain = session.domain(args.at(0)).await?;
    match address.find(session, &domain).await? {
        Some(route) => {
            session
                .api
                .delete(&format!("/v3/routes/{}", route.guid()), &[])
                .await?
        }
        None => ui.line(&format!("Unable to delete. {}", address.missing())),
    }
    ui.ok();
    Ok(())
}

async fn delete_orphaned(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    if !args.has("f") && !ui.confirm("Really delete orphaned routes?")? {
        ui.line("Routes have not been deleted.");
        return Ok(());
    }
    ui.line(&format!(
        "Deleting orphaned routes {}...",
        session.place("in", &target)
    ));
    session
        .api
        .delete(
            &format!("/v3/spaces/{}/routes", target.space.guid),
            &[("unmapped", "true")],
        )
        .await?;
    ui.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_the_app_s_web_process() {
        let route = json!({"destinations": [
            {"guid": "1", "app": {"guid": "A", "process": {"type": "worker"}}},
            {"guid": "2", "app": {"guid": "A", "process": {"type": "web"}}},
        ]});
        assert_eq!(destination(&route, "A"), Some("2"));
        assert_eq!(destination(&route, "B"), None);
    }
}
