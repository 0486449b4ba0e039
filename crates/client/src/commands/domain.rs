//! Domains: `domains`, `create-shared-domain`, `create-private-domain`, `delete-shared-domain`, `delete-private-domain`.

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::{Json, related};
use crate::session::Session;
use crate::table::Table;

const DOMAIN: Positional = Positional::Required("DOMAIN");
const FORCE: &[Flag] = &[Flag::switch("", "f", "Force deletion without confirmation")];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "domains",
        alias: "",
        summary: "List domains in the target org",
        usage: "domains [--labels SELECTOR]",
        group: Group::Routes,
        positionals: &[],
        flags: &[Flag::text("labels", "", "Selector to filter domains by labels")],
        run: |session, args| Box::pin(domains(session, args)),
    },
    Command {
        name: "create-shared-domain",
        alias: "",
        summary: "Create a domain that can be used by all orgs (admin-only)",
        usage: "create-shared-domain DOMAIN [--internal]",
        group: Group::Routes,
        positionals: &[DOMAIN],
        flags: &[Flag::switch(
            "internal",
            "",
            "Applications that use internal routes communicate directly",
        )],
        run: |session, args| Box::pin(create_shared(session, args)),
    },
    Command {
        name: "create-private-domain",
        alias: "create-domain",
        summary: "Create a private domain for a specific org",
        usage: "create-private-domain ORG DOMAIN",
        group: Group::Routes,
        positionals: &[Positional::Required("ORG"), DOMAIN],
        flags: &[],
        run: |session, args| Box::pin(create_private(session, args)),
    },
    Command {
        name: "delete-shared-domain",
        alias: "",
        summary: "Delete a shared domain",
        usage: "delete-shared-domain DOMAIN [-f]",
        group: Group::Routes,
        positionals: &[DOMAIN],
        flags: FORCE,
        run: |session, args| Box::pin(delete(session, args, Kind::Shared)),
    },
    Command {
        name: "delete-private-domain",
        alias: "delete-domain",
        summary: "Delete a private domain",
        usage: "delete-private-domain DOMAIN [-f]",
        group: Group::Routes,
        positionals: &[DOMAIN],
        flags: FORCE,
        run: |session, args| Box::pin(delete(session, args, Kind::Private)),
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shared,
    Private,
}

impl Kind {
    fn of(domain: &Value) -> Self {
        if domain.text("/relationships/organization/data/guid").is_empty() {
            Self::Shared
        } else {
            Self::Private
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
        }
    }
}

async fn domains(session: &Session, args: &Args) -> Result<()> {
    let (ui, (org, user)) = (&session.ui, session.org()?);
    ui.line(&format!(
        "Getting domains in org {} as {}...\n",
        ui.name(&org.name),
        ui.name(&user)
    ));
    let labels: Vec<_> = args
        .value("labels")
        .map(|labels| ("label_selector", labels))
        .into_iter()
        .collect();
    let mut domains = session
        .api
        .list(&format!("/v3/organizations/{}/domains", org.guid), &labels)
        .await?;
    if domains.is_empty() {
        ui.line("No domains found.");
        return Ok(());
    }
    domains.sort_by(|a, b| a.name().cmp(b.name()));
    let mut table = Table::with_header(&["name", "availability", "internal", "protocols"]);
    for domain in &domains {
        let internal = if domain.truth("/internal") == Some(true) {
            "true"
        } else {
            ""
        };
        let protocols: Vec<&str> = domain
            .items("/supported_protocols")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        table.row([
            domain.name(),
            Kind::of(domain).word(),
            internal,
            &protocols.join(","),
        ]);
    }
    table.print(ui);
    Ok(())
}

async fn create_shared(session: &Session, args: &Args) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!(
        "Creating shared domain {} as {}...",
        ui.name(args.at(0)),
        ui.name(&user)
    ));
    let body = json!({ "name": args.at(0), "internal": args.has("internal") });
    session.api.post("/v3/domains", &body).await?;
    ui.ok();
    let program = &session.program;
    ui.line(&format!(
        "TIP: Domain '{}' is shared with all orgs. Run '{program} domains' to view available domains.",
        args.at(0)
    ));
    Ok(())
}

async fn create_private(session: &Session, args: &Args) -> Result<()> {
    let (ui, user, org, name) = (&session.ui, session.user()?, args.at(0), args.at(1));
    ui.line(&format!(
        "Creating private domain {} for org {} as {}...",
        ui.name(name),
        ui.name(org),
        ui.name(&user)
    ));
    let org = session.org_named(org).await?;
    let body = json!({ "name": name, "relationships": { "organization": related(org.guid()) } });
    session.api.post("/v3/domains", &body).await?;
    ui.ok();
    let program = &session.program;
    ui.line(&format!(
        "TIP: Domain '{name}' is a private domain. Run '{program} create-route' to make a route of it."
    ));
    Ok(())
}

async fn delete(session: &Session, args: &Args, kind: Kind) -> Result<()> {
    let (ui, user, name, word) = (&session.ui, session.user()?, args.at(0), kind.word());
    let domain = match session.domain(name).await {
        Ok(domain) if Kind::of(&domain) != kind => {
            let is = Kind::of(&domain).word();
            return Err(Error::Message(format!(
                "Domain '{name}' is a {is} domain, not a {word} domain."
            )));
        }
        Err(Error::NotFound(_)) => None,
        outcome => Some(outcome?),
    };
    if !args.has("f") && !ui.confirm(&format!("Really delete the {word} domain {name}?"))? {
        ui.line(&format!("'{name}' has not been deleted."));
        return Ok(());
    }
    ui.line(&format!(
        "Deleting {word} domain {} as {}...",
        ui.name(name),
        ui.name(&user)
    ));
    match domain {
        Some(domain) => {
            session
                .api
                .delete(&format!("/v3/domains/{}", domain.guid()), &[])
                .await?
        }
        None => ui.warn(&format!("Domain '{name}' does not exist.")),
    }
    ui.ok();
    Ok(())
}
