//! Roles: `set-org-role`, `unset-org-role`, `set-space-role`, `unset-space-role`, `org-users`, `space-users`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::{Json, related};
use crate::session::{Session, listed};

const FLAGS: &[Flag] = &[
    Flag::switch(
        "client",
        "",
        "The user is a client-id of a (non-user) service account",
    ),
    Flag::text("origin", "", "Identity provider of the user"),
];
const ORG_ROLE: &[Positional] = &[
    Positional::Required("USERNAME"),
    Positional::Required("ORG"),
    Positional::Required("ROLE"),
];
const SPACE_ROLE: &[Positional] = &[
    Positional::Required("USERNAME"),
    Positional::Required("ORG"),
    Positional::Required("SPACE"),
    Positional::Required("ROLE"),
];
const ORG_ROLES: &[(&str, &str, &str)] = &[
    ("OrgManager", "organization_manager", "ORG MANAGER"),
    (
        "BillingManager",
        "organization_billing_manager",
        "BILLING MANAGER",
    ),
    ("OrgAuditor", "organization_auditor", "ORG AUDITOR"),
];
const SPACE_ROLES: &[(&str, &str, &str)] = &[
    ("SpaceManager", "space_manager", "SPACE MANAGER"),
    ("SpaceDeveloper", "space_developer", "SPACE DEVELOPER"),
    ("SpaceSupporter", "space_supporter", "SPACE SUPPORTER"),
    ("SpaceAuditor", "space_auditor", "SPACE AUDITOR"),
];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "org-users",
        alias: "",
        summary: "Show org users by role",
        usage: "org-users ORG [-a]",
        group: Group::Users,
        positionals: &[Positional::Required("ORG")],
        flags: &[Flag::switch(
            "all-users",
            "a",
            "List all users with roles in the org",
        )],
        run: |session, args| Box::pin(org_users(session, args)),
    },
    Command {
        name: "set-org-role",
        alias: "",
        summary: "Assign an org role to a user",
        usage: "set-org-role USERNAME ORG (OrgManager | BillingManager | OrgAuditor) [--client | --origin ORIGIN]",
        group: Group::Users,
        positionals: ORG_ROLE,
        flags: FLAGS,
        run: |session, args| Box::pin(set(session, args, Kind::Org)),
    },
    Command {
        name: "unset-org-role",
        alias: "",
        summary: "Remove an org role from a user",
        usage: "unset-org-role USERNAME ORG (OrgManager | BillingManager | OrgAuditor) [--client | --origin ORIGIN]",
        group: Group::Users,
        positionals: ORG_ROLE,
        flags: FLAGS,
        run: |session, args| Box::pin(unset(session, args, Kind::Org)),
    },
    Command {
        name: "space-users",
        alias: "",
        summary: "Show space users by role",
        usage: "space-users ORG SPACE",
        group: Group::Users,
        positionals: &[Positional::Required("ORG"), Positional::Required("SPACE")],
        flags: &[],
        run: |session, args| Box::pin(space_users(session, args)),
    },
    Command {
        name: "set-space-role",
        alias: "",
        summary: "Assign a space role to a user",
        usage: "set-space-role USERNAME ORG SPACE (SpaceManager | SpaceDeveloper | SpaceAuditor | SpaceSupporter) [--client | --origin ORIGIN]",
        group: Group::Users,
        positionals: SPACE_ROLE,
        flags: FLAGS,
        run: |session, args| Box::pin(set(session, args, Kind::Space)),
    },
    Command {
        name: "unset-space-role",
        alias: "",
        summary: "Remove a space role from a user",
        usage: "unset-space-role USERNAME ORG SPACE (SpaceManager | SpaceDeveloper | SpaceAuditor | SpaceSupporter) [--client | --origin ORIGIN]",
        group: Group::Users,
        positionals: SPACE_ROLE,
        flags: FLAGS,
        run: |session, args| Box::pin(unset(session, args, Kind::Space)),
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Org,
    Space,
}

/// Where a role holds.
#[derive(Clone, Copy)]
enum Place<'a> {
    Org(&'a str),
    Space(&'a str),
}

impl Place<'_> {
    fn relationship(self) -> (&'static str, Value) {
        match self {
            Self::Org(guid) => ("organization", related(guid)),
            Self::Space(guid) => ("space", related(guid)),
        }
    }

    fn filter(&self) -> (&'static str, &str) {
        match self {
            Self::Org(guid) => ("organization_guids", guid),
            Self::Space(guid) => ("space_guids", guid),
        }
    }
}

async fn set(session: &Session, args: &Args, kind: Kind) -> Result<()> {
    let me = session.user()?;
    let (role, place) = described(session, args, kind)?;
    session.ui.line(&format!(
        "Assigning role {} to user {place} as {}...",
        session.ui.name(role.0),
        session.ui.name(&me)
    ));
    let user = who(args)?;
    let (org, space) = located(session, args, kind).await?;
    let mut held = false;
    if kind == Kind::Space {
        // A space role presupposes belonging to the org.
        assign(session, "organization_user", Place::Org(org.guid()), &user).await?;
        held |= assign(session, role.1, Place::Space(space.guid()), &user).await?;
    } else {
        held |= assign(session, role.1, Place::Org(org.guid()), &user).await?;
    }
    if held {
        session
            .ui
            .warn(&format!("User '{}' already has role '{}'.", args.at(0), role.0));
    }
    session.ui.ok();
    Ok(())
}

async fn unset(session: &Session, args: &Args, kind: Kind) -> Result<()> {
    let me = session.user()?;
    let (role, place) = described(session, args, kind)?;
    session.ui.line(&format!(
        "Removing role {} from user {place} as {}...",
        session.ui.name(role.0),
        session.ui.name(&me)
    ));
    let (org, space) = located(session, args, kind).await?;
    let user = user_guid(session, args).await?;
    let place = if kind == Kind::Org {
        Place::Org(org.guid())
    } else {
        Place::Space(space.guid())
    };
    let query = [("user_guids", user.as_str()), ("types", role.1), place.filter()];
    if let Some(held) = session.first("/v3/roles", &query).await? {
        session
            .api
            .delete(&format!("/v3/roles/{}", held.guid()), &[])
            .await?;
    }
    session.ui.ok();
    Ok(())
}

/// The role a command line names, and "NAME in org O / space S" for the announcement.
fn described(
    session: &Session,
    args: &Args,
    kind: Kind,
) -> Result<(&'static (&'static str, &'static str, &'static str), String)> {
    let ui = &session.ui;
    let (roles, typed) = if kind == Kind::Org {
        (ORG_ROLES, args.at(2))
    } else {
        (SPACE_ROLES, args.at(3))
    };
    let role = roles
        .iter()
        .find(|(name, ..)| name.eq_ignore_ascii_case(typed))
        .ok_or_else(|| {
            let names: Vec<&str> = roles.iter().map(|(name, ..)| *name).collect();
            Error::Usage(format!("ROLE must be \"{}\"", names.join("\", \"")))
        })?;
    let mut place = format!("{} in org {}", ui.name(args.at(0)), ui.name(args.at(1)));
    if kind == Kind::Space {
        place.push_str(&format!(" / space {}", ui.name(args.at(2))));
    }
    Ok((role, place))
}

async fn located(session: &Session, args: &Args, kind: Kind) -> Result<(Value, Value)> {
    let org = session.org_named(args.at(1)).await?;
    let space = match kind {
        Kind::Org => Value::Null,
        Kind::Space => session.space_named(args.at(2), org.guid()).await?,
    };
    Ok((org, space))
}

/// The user of a command line, as a role refers to them.
fn who(args: &Args) -> Result<Value> {
    match (args.has("client"), args.value("origin")) {
        (true, Some(_)) => Err(Error::Usage(
            "The following arguments cannot be used together: --client, --origin".into(),
        )),
        (true, None) => Ok(json!({ "guid": args.at(0) })),
        (false, Some(origin)) => Ok(json!({ "username": args.at(0), "origin": origin })),
        (false, None) => Ok(json!({ "username": args.at(0) })),
    }
}

async fn user_guid(session: &Session, args: &Args) -> Result<String> {
    if args.has("client") {
        return Ok(args.at(0).to_owned());
    }
    let name = listed(args.at(0));
    let mut query = vec![("usernames", name.as_str())];
    query.extend(args.value("origin").map(|origin| ("origins", origin)));
    let users = session.api.list("/v3/users", &query).await?;
    match users.as_slice() {
        [] => Err(Error::NotFound(format!("User '{}' does not exist.", args.at(0)))),
        [one] => Ok(one.guid().to_owned()),
        _ => Err(Error::Message(format!(
            "Ambiguous user '{}': specify an origin with --origin.",
            args.at(0)
        ))),
    }
}

/// Gives a role; whether the user had it already.
async fn assign(session: &Session, role: &str, place: Place<'_>, user: &Value) -> Result<bool> {
    let (relation, target) = place.relationship();
    let body = json!({ "type": role, "relationships": { "user": { "data": user }, relation: target } });
    match session.api.post("/v3/roles", &body).await {
        Ok(_) => Ok(false),
        Err(error) if error.is_unprocessable(|d| d.contains("already has") && d.contains("role")) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Gives the current user a space role, and the org membership it presupposes.
pub async fn assign_to_self(session: &Session, role: &str, org: &str, space: &str) -> Result<()> {
    let claims = session
        .claims()
        .ok_or_else(|| Error::message("the access token cannot be read: log in again"))?;
    let user = if claims.is_client() {
        json!({ "guid": claims.owner() })
    } else {
        json!({ "username": claims.owner(), "origin": claims.origin() })
    };
    assign(session, "organization_user", Place::Org(org), &user).await?;
    assign(session, role, Place::Space(space), &user).await?;
    Ok(())
}

async fn org_users(session: &Session, args: &Args) -> Result<()> {
    let (ui, me) = (&session.ui, session.user()?);
    ui.line(&format!(
        "Getting users in org {} as {}...\n",
        ui.name(args.at(0)),
        ui.name(&me)
    ));
    let org = session.org_named(args.at(0)).await?;
    let holders = holders(session, Place::Org(org.guid())).await?;
    if args.has("all-users") {
        let mut all: Vec<&String> = holders.values().flatten().collect();
        all.sort();
        all.dedup();
        print(session, "ORG USERS", &all);
        return Ok(());
    }
    print_by_role(session, ORG_ROLES, &holders);
    Ok(())
}

async fn space_users(session: &Session, args: &Args) -> Result<()> {
    let (ui, me) = (&session.ui, session.user()?);
    let (org, space) = (ui.name(args.at(0)), ui.name(args.at(1)));
    ui.line(&format!(
        "Getting users in org {org} / space {space} as {}...\n",
        ui.name(&me)
    ));
    let org = session.org_named(args.at(0)).await?;
    let space = session.space_named(args.at(1), org.guid()).await?;
    let holders = holders(session, Place::Space(space.guid())).await?;
    print_by_role(session, SPACE_ROLES, &holders);
    Ok(())
}

/// Who holds which role, as "NAME (ORIGIN)".
async fn holders(session: &Session, place: Place<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    let listing = session
        .api
        .listing("/v3/roles", &[place.filter(), ("include", "user")])
        .await?;
    let mut users = BTreeMap::new();
    for user in listing
        .included
        .iter()
        .flat_map(|included| included.items("/users"))
    {
        let origin = match user.text("/origin") {
            "" => "client",
            origin => origin,
        };
        users.insert(
            user.guid(),
            format!("{} ({origin})", user.text("/presentation_name")),
        );
    }
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for role in &listing.rows {
        let user = users.get(role.text("/relationships/user/data/guid"));
        holders
            .entry(role.text("/type").to_owned())
            .or_default()
            .extend(user.cloned());
    }
    Ok(holders)
}

fn print_by_role(session: &Session, roles: &[(&str, &str, &str)], holders: &BTreeMap<String, Vec<String>>) {
    for (_, role, heading) in roles {
        let mut users: Vec<&String> = holders.get(*role).into_iter().flatten().collect();
        users.sort();
        print(session, heading, &users);
    }
}

fn print(session: &Session, heading: &str, users: &[&String]) {
    let ui = &session.ui;
    ui.line(&ui.bold(heading));
    if users.is_empty() {
        ui.line(&format!("  No {heading} found"));
    }
    users.iter().for_each(|user| ui.line(&format!("  {user}")));
    ui.line("");
}
