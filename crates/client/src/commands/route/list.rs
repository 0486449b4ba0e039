//! `routes`: the table of routes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::Result;
use crate::grammar::Args;
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;

/// How many GUIDs go into one address.
const BATCH: usize = 200;

/// Lists the routes of the space, or of the org.
///
/// # Errors
/// Those of the API.
pub async fn routes(session: &Session, args: &Args) -> Result<()> {
    let ui = &session.ui;
    let mut query = vec![("per_page", "5000")];
    query.extend(args.value("labels").map(|labels| ("label_selector", labels)));
    let (org, user) = session.org()?;
    let target = if args.has("org-level") {
        None
    } else {
        Some(session.target()?)
    };
    match &target {
        Some(target) => {
            ui.line(&format!("Getting routes {}...\n", session.place("for", target)));
            query.push(("space_guids", &target.space.guid));
        }
        None => {
            ui.line(&format!(
                "Getting routes for org {} as {}...\n",
                ui.name(&org.name),
                ui.name(&user)
            ));
            query.push(("organization_guids", &org.guid));
        }
    }
    let routes = session.api.list("/v3/routes", &query).await?;
    if routes.is_empty() {
        ui.line("No routes found.");
        return Ok(());
    }
    let space_of = |route: &Value| route.text("/relationships/space/data/guid").to_owned();
    let app_of = |route: &Value| {
        let apps = route
            .items("/destinations")
            .iter()
            .map(|d| d.text("/app/guid").to_owned());
        apps.collect::<Vec<_>>()
    };
    let (spaces, apps) = tokio::try_join!(
        names(session, "/v3/spaces", routes.iter().map(space_of).collect()),
        names(session, "/v3/apps", routes.iter().flat_map(app_of).collect()),
    )?;
    print(session, &routes, &spaces, &apps);
    Ok(())
}

/// Names by GUID.
async fn names(session: &Session, path: &str, mut guids: Vec<String>) -> Result<BTreeMap<String, String>> {
    guids.sort();
    guids.dedup();
    let mut names = BTreeMap::new();
    for batch in guids.chunks(BATCH) {
        for row in session
            .api
            .list(path, &[("guids", &batch.join(",")), ("per_page", "5000")])
            .await?
        {
            names.insert(row.guid().to_owned(), row.name().to_owned());
        }
    }
    Ok(names)
}

fn print(
    session: &Session,
    routes: &[Value],
    spaces: &BTreeMap<String, String>,
    apps: &BTreeMap<String, String>,
) {
    let mut table = Table::with_header(&[
        "space",
        "host",
        "domain",
        "port",
        "path",
        "protocol",
        "app-protocol",
        "app-port",
        "apps",
        "options",
    ]);
    for route in routes {
        let port = route
            .pointer("/port")
            .and_then(Value::as_u64)
            .map(|port| port.to_string())
            .unwrap_or_default();
        let of = |pointer: &str| {
            let mut all: Vec<String> = route
                .items("/destinations")
                .iter()
                .map(|d| word(d.pointer(pointer)))
                .collect();
            all.retain(|text| !text.is_empty());
            all.dedup();
            all.join(", ")
        };
        let mapped: Vec<&str> = route
            .items("/destinations")
            .iter()
            .filter_map(|d| apps.get(d.text("/app/guid")).map(String::as_str))
            .collect();
        let options = route.get("options").and_then(Value::as_object);
        let options: Vec<String> = options
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k}={}", word(Some(v))))
            .collect();
        table.row([
            spaces
                .get(route.text("/relationships/space/data/guid"))
                .map(String::as_str)
                .unwrap_or_default(),
            route.text("/host"),
            &domain_of(route),
            &port,
            route.text("/path"),
            route.text("/protocol"),
            &of("/protocol"),
            &of("/port"),
            &mapped.join(", "),
            &options.join(", "),
        ]);
    }
    table.print(&session.ui);
}

fn word(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The domain is what the address has between host and path or port.
fn domain_of(route: &Value) -> String {
    let url = route.text("/url");
    let host = format!("{}.", route.text("/host"));
    let rest = url.strip_prefix(&host).unwrap_or(url);
    rest.split(['/', ':']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_domain_is_found_in_the_address() {
        let of = |url: &str, host: &str| domain_of(&json!({ "url": url, "host": host }));
        assert_eq!(of("shop.a.example/v1", "shop"), "a.example");
        assert_eq!(of("tcp.example:1024", ""), "tcp.example");
    }
}
