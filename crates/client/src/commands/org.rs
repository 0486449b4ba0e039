//! Orgs: `orgs`, `org`, `create-org`, `delete-org`.

use serde_json::json;

use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::session::{Session, listed};
use crate::table::Table;

const ORG: &[Positional] = &[Positional::Required("ORG")];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "orgs",
        alias: "o",
        summary: "List all orgs",
        usage: "orgs [--labels SELECTOR]",
        group: Group::Orgs,
        positionals: &[],
        flags: &[Flag::text("labels", "", "Selector to filter orgs by labels")],
        run: |session, args| Box::pin(orgs(session, args)),
    },
    Command {
        name: "org",
        alias: "",
        summary: "Show org info",
        usage: "org ORG [--guid]",
        group: Group::Orgs,
        positionals: ORG,
        flags: &[Flag::switch("guid", "", "Show nothing but the org's guid")],
        run: |session, args| Box::pin(org(session, args)),
    },
    Command {
        name: "create-org",
        alias: "co",
        summary: "Create an org",
        usage: "create-org ORG [-q ORG_QUOTA]",
        group: Group::Orgs,
        positionals: ORG,
        flags: &[Flag::text(
            "quota",
            "q",
            "Quota to assign to the newly created org",
        )],
        run: |session, args| Box::pin(create(session, args)),
    },
    Command {
        name: "delete-org",
        alias: "",
        summary: "Delete an org",
        usage: "delete-org ORG [-f]",
        group: Group::Orgs,
        positionals: ORG,
        flags: &[Flag::switch("", "f", "Force deletion without confirmation")],
        run: |session, args| Box::pin(delete(session, args)),
    },
];

async fn orgs(session: &Session, args: &Args) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!("Getting orgs as {}...\n", ui.name(&user)));
    let mut query = vec![("order_by", "name")];
    query.extend(args.value("labels").map(|labels| ("label_selector", labels)));
    let orgs = session.api.list("/v3/organizations", &query).await?;
    if orgs.is_empty() {
        ui.line("No orgs found.");
        return Ok(());
    }
    let mut table = Table::with_header(&["name"]);
    orgs.iter().for_each(|org| table.row([org.name()]));
    table.print(ui);
    Ok(())
}

async fn org(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, user) = (&session.ui, &session.api, session.user()?);
    if args.has("guid") {
        ui.line(session.org_named(args.at(0)).await?.guid());
        return Ok(());
    }
    ui.line(&format!(
        "Getting info for org {} as {}...\n",
        ui.name(args.at(0)),
        ui.name(&user)
    ));
    let org = session.org_named(args.at(0)).await?;
    let quota = org.text("/relationships/quota/data/guid");
    let domains = format!("/v3/organizations/{}/domains", org.guid());
    let mine = [("organization_guids", org.guid()), ("order_by", "name")];
    let (domains, spaces) = tokio::try_join!(api.list(&domains, &[]), api.list("/v3/spaces", &mine),)?;
    let quota = match quota {
        "" => String::new(),
        guid => api
            .get(&format!("/v3/organization_quotas/{guid}"), &[])
            .await?
            .name()
            .to_owned(),
    };
    let joined = |rows: &[serde_json::Value]| rows.iter().map(Json::name).collect::<Vec<_>>().join(", ");
    let mut table = Table::of_pairs();
    table.pair("name:", org.name());
    table.pair("domains:", joined(&domains));
    table.pair("quota:", quota);
    table.pair("spaces:", joined(&spaces));
    table.print(ui);
    Ok(())
}

async fn create(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, user, name) = (&session.ui, &session.api, session.user()?, args.at(0));
    ui.line(&format!(
        "Creating org {} as {}...",
        ui.name(name),
        ui.name(&user)
    ));
    match api
        .post("/v3/organizations", &json!({ "name": name, "suspended": false }))
        .await
    {
        Err(error) if error.is_unprocessable(|detail| detail.contains("already exists")) => {
            ui.line(&error.to_string());
        }
        outcome => drop(outcome?),
    }
    ui.ok();
    if let Some(quota) = args.value("quota") {
        ui.line(&format!(
            "Setting org quota {} to org {} as {}...",
            ui.name(quota),
            ui.name(name),
            ui.name(&user)
        ));
        let found = session
            .first("/v3/organization_quotas", &[("names", &listed(quota))])
            .await?;
        let missing = || Error::NotFound(format!("Organization quota with name '{quota}' not found."));
        let quota = found.ok_or_else(missing)?;
        let org = session.org_named(name).await?;
        let path = format!(
            "/v3/organization_quotas/{}/relationships/organizations",
            quota.guid()
        );
        api.post(&path, &json!({ "data": [{ "guid": org.guid() }] }))
            .await?;
        ui.ok();
    }
    ui.line(&format!(
        "TIP: Use '{} target -o \"{name}\"' to target new org",
        session.program
    ));
    Ok(())
}

async fn delete(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, user, name) = (&session.ui, &session.api, session.user()?, args.at(0));
    let question = format!(
        "Really delete the org {name}, including its spaces, apps, service instances, routes, private domains and \
         space-scoped service brokers?"
    );
    if !args.has("f") && !ui.confirm(&question)? {
        ui.line(&format!("Organization '{name}' has not been deleted."));
        return Ok(());
    }
    ui.line(&format!(
        "Deleting org {} as {}...",
        ui.name(name),
        ui.name(&user)
    ));
    match session.org_named(name).await {
        Ok(org) => {
            api.delete(&format!("/v3/organizations/{}", org.guid()), &[])
                .await?
        }
        Err(Error::NotFound(_)) => ui.warn(&format!("Org '{name}' does not exist.")),
        Err(error) => return Err(error),
    }
    ui.ok();
    if api.config().org.is_some_and(|org| org.name == name) {
        api.update(|config| (config.org, config.space) = (None, None))?;
        ui.line(&format!(
            "TIP: No org or space targeted, use '{} target -o ORG -s SPACE' to target an org and space.",
            session.program
        ));
    }
    Ok(())
}
