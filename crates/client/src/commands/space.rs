//! Spaces: `spaces`, `space`, `create-space`, `delete-space`.

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::commands::role;
use crate::config::Named;
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::{Json, related};
use crate::session::{Session, listed};
use crate::table::Table;

const SPACE: &[Positional] = &[Positional::Required("SPACE")];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "spaces",
        alias: "",
        summary: "List all spaces in an org",
        usage: "spaces [--labels SELECTOR]",
        group: Group::Orgs,
        positionals: &[],
        flags: &[Flag::text("labels", "", "Selector to filter spaces by labels")],
        run: |session, args| Box::pin(spaces(session, args)),
    },
    Command {
        name: "space",
        alias: "",
        summary: "Show space info",
        usage: "space SPACE [--guid]",
        group: Group::Orgs,
        positionals: SPACE,
        flags: &[Flag::switch("guid", "", "Show nothing but the space's guid")],
        run: |session, args| Box::pin(space(session, args)),
    },
    Command {
        name: "create-space",
        alias: "csp",
        summary: "Create a space",
        usage: "create-space SPACE [-o ORG] [-q QUOTA]",
        group: Group::Orgs,
        positionals: SPACE,
        flags: &[
            Flag::text("", "o", "Organization"),
            Flag::text("quota", "q", "Quota to assign to the newly created space"),
        ],
        run: |session, args| Box::pin(create(session, args)),
    },
    Command {
        name: "delete-space",
        alias: "",
        summary: "Delete a space",
        usage: "delete-space SPACE [-o ORG] [-f]",
        group: Group::Orgs,
        positionals: SPACE,
        flags: &[
            Flag::switch("", "f", "Force deletion without confirmation"),
            Flag::text("", "o", "Delete space within specified org"),
        ],
        run: |session, args| Box::pin(delete(session, args)),
    },
];

async fn spaces(session: &Session, args: &Args) -> Result<()> {
    let (ui, (org, user)) = (&session.ui, session.org()?);
    ui.line(&format!(
        "Getting spaces in org {} as {}...\n",
        ui.name(&org.name),
        ui.name(&user)
    ));
    let mut query = vec![("organization_guids", org.guid.as_str()), ("order_by", "name")];
    query.extend(args.value("labels").map(|labels| ("label_selector", labels)));
    let spaces = session.api.list("/v3/spaces", &query).await?;
    if spaces.is_empty() {
        ui.line("No spaces found.");
        return Ok(());
    }
    let mut table = Table::with_header(&["name"]);
    spaces.iter().for_each(|space| table.row([space.name()]));
    table.print(ui);
    Ok(())
}

async fn space(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, (org, user)) = (&session.ui, &session.api, session.org()?);
    if args.has("guid") {
        ui.line(session.space_named(args.at(0), &org.guid).await?.guid());
        return Ok(());
    }
    let (name, org_name) = (ui.name(args.at(0)), ui.name(&org.name));
    ui.line(&format!(
        "Getting info for space {name} in org {org_name} as {}...\n",
        ui.name(&user)
    ));
    let space = session.space_named(args.at(0), &org.guid).await?;
    let mine = [("space_guids", space.guid())];
    let groups = |phase: &str| format!("/v3/spaces/{}/{phase}_security_groups", space.guid());
    let (running, staging) = (groups("running"), groups("staging"));
    let (apps, services, running, staging) = tokio::try_join!(
        api.list("/v3/apps", &mine),
        api.list("/v3/service_instances", &mine),
        api.list(&running, &[]),
        api.list(&staging, &[]),
    )?;
    let quota = match space.text("/relationships/quota/data/guid") {
        "" => String::new(),
        guid => api
            .get(&format!("/v3/space_quotas/{guid}"), &[])
            .await?
            .name()
            .to_owned(),
    };
    let joined = |rows: &[Value]| rows.iter().map(Json::name).collect::<Vec<_>>().join(", ");
    let mut table = Table::of_pairs();
    table.pair("name:", space.name());
    table.pair("org:", org.name.as_str());
    table.pair("apps:", joined(&apps));
    table.pair("services:", joined(&services));
    table.pair("quota:", quota);
    table.pair("running security groups:", joined(&running));
    table.pair("staging security groups:", joined(&staging));
    table.print(ui);
    Ok(())
}

async fn create(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, name) = (&session.ui, &session.api, args.at(0));
    let (org, user) = org_of(session, args.text("o")).await?;
    let shown = (ui.name(name), ui.name(&org.name), ui.name(&user));
    ui.line(&format!(
        "Creating space {} in org {} as {}...",
        shown.0, shown.1, shown.2
    ));
    let body = json!({ "name": name, "relationships": { "organization": related(&org.guid) } });
    let space = match api.post("/v3/spaces", &body).await {
        Ok(reply) => reply.json()?,
        Err(error)
            if error.is_unprocessable(|detail| detail.contains("Name must be unique per organization")) =>
        {
            ui.line(&format!("Space '{name}' already exists."));
            ui.ok();
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    ui.ok();
    if let Some(quota) = args.value("quota") {
        ui.line(&format!(
            "Setting space quota {} to space {} as {}...",
            ui.name(quota),
            shown.0,
            shown.2
        ));
        let query = [
            ("names", &*listed(quota)),
            ("organization_guids", org.guid.as_str()),
        ];
        let found = session.first("/v3/space_quotas", &query).await?;
        let found =
            found.ok_or_else(|| Error::NotFound(format!("Space quota with name '{quota}' not found.")))?;
        let path = format!("/v3/space_quotas/{}/relationships/spaces", found.guid());
        api.post(&path, &json!({ "data": [{ "guid": space.guid() }] }))
            .await?;
        ui.ok();
    }
    for (role, shown_role) in [
        ("space_manager", "SpaceManager"),
        ("space_developer", "SpaceDeveloper"),
    ] {
        ui.line(&format!(
            "Assigning role {shown_role} to user {} in org {} / space {} as {}...",
            shown.2, shown.1, shown.0, shown.2
        ));
        role::assign_to_self(session, role, &org.guid, space.guid()).await?;
        ui.ok();
    }
    let program = &session.program;
    ui.line(&format!(
        "TIP: Use '{program} target -o \"{}\" -s \"{name}\"' to target new space",
        org.name
    ));
    Ok(())
}

async fn delete(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, name) = (&session.ui, &session.api, args.at(0));
    let (org, user) = org_of(session, args.text("o")).await?;
    if !args.has("f") {
        ui.line(
            "This action impacts all resources scoped to this space, including apps, service instances, and \
             space-scoped service brokers.",
        );
        if !ui.confirm(&format!("Really delete the space {name}?"))? {
            ui.line(&format!("'{name}' has not been deleted."));
            return Ok(());
        }
    }
    ui.line(&format!(
        "Deleting space {} in org {} as {}...",
        ui.name(name),
        ui.name(&org.name),
        ui.name(&user)
    ));
    match session.space_named(name, &org.guid).await {
        Ok(space) => api.delete(&format!("/v3/spaces/{}", space.guid()), &[]).await?,
        Err(Error::NotFound(_)) => ui.warn(&format!("Space '{name}' does not exist.")),
        Err(error) => return Err(error),
    }
    ui.ok();
    let config = api.config();
    if config.org.is_some_and(|o| o.guid == org.guid) && config.space.is_some_and(|space| space.name == name)
    {
        api.update(|config| config.space = None)?;
        ui.line(&format!(
            "TIP: No space targeted, use '{} target -s SPACE' to target a space.",
            session.program
        ));
    }
    Ok(())
}

/// The named org, or the targeted one.
async fn org_of(session: &Session, name: &str) -> Result<(Named, String)> {
    if name.is_empty() {
        return session.org();
    }
    let user = session.user()?;
    let org = session.org_named(name).await?;
    Ok((
        Named {
            guid: org.guid().to_owned(),
            name: org.name().to_owned(),
        },
        user,
    ))
}
