//! Every role against every question, then the scopes above roles, suspension and lists.

use super::*;
use crate::Role;
use crate::identity::{scope, tests::client};

const QUESTIONS: [&str; 9] = [
    "read_org",
    "write_org",
    "read_space",
    "write_space",
    "manage_apps",
    "update_space",
    "read_secrets",
    "read_events",
    "read_routes",
];

fn org() -> OrgGuid {
    "org".into()
}

fn space() -> SpaceGuid {
    "space".into()
}

fn held(role: Role) -> HeldRole {
    HeldRole {
        role,
        org: org(),
        space: role.is_space_role().then(space),
    }
}

fn member(roles: &[Role]) -> Permissions {
    Permissions::new(
        &client(&[scope::READ, scope::WRITE]),
        roles.iter().map(|&role| held(role)),
    )
}

/// One letter per question: `y` yes, `-` no (for a write: readable but forbidden), `h` hidden, `s` suspended.
fn answers(p: &Permissions, org: &OrgGuid, space: &SpaceGuid, status: OrgStatus) -> String {
    let read = |yes: bool| if yes { 'y' } else { '-' };
    let write = |answer: Result<(), Forbidden>| match answer {
        Ok(()) => 'y',
        Err(Forbidden::NotAuthorized) => '-',
        Err(Forbidden::Hidden) => 'h',
        Err(Forbidden::OrgSuspended) => 's',
    };
    let all: [char; QUESTIONS.len()] = [
        read(p.can_read_org(org)),
        write(p.can_write_org(org, status)),
        read(p.can_read_space(org, space)),
        write(p.can_write_space(org, space, status)),
        write(p.can_manage_apps(org, space, status)),
        write(p.can_update_space(org, space, status)),
        read(p.can_read_secrets(org, space)),
        read(p.can_read_events(org, space)),
        read(p.can_read_routes(org, space)),
    ];
    all.iter().collect()
}

#[test]
fn every_role_has_its_answers() {
    // read_org write_org read_space write_space manage_apps update_space read_secrets read_events read_routes
    let table = [
        (Role::OrganizationUser, "y--hhh---"),
        (Role::OrganizationAuditor, "y--hhh--y"),
        (Role::OrganizationManager, "yyy--y--y"),
        (Role::OrganizationBillingManager, "y--hhh---"),
        (Role::SpaceAuditor, "-hy----yy"),
        (Role::SpaceDeveloper, "-hyyy-yyy"),
        (Role::SpaceManager, "-hy--y--y"),
        (Role::SpaceSupporter, "-hy-y--yy"),
    ];
    assert_eq!(table.map(|(role, _)| role), Role::ALL);
    for (role, wanted) in table {
        assert_eq!(
            answers(&member(&[role]), &org(), &space(), OrgStatus::Active),
            wanted,
            "{role} {QUESTIONS:?}"
        );
    }
    assert_eq!(
        answers(&member(&[]), &org(), &space(), OrgStatus::Active),
        "-h-hhh---"
    );
}

#[test]
fn roles_add_up() {
    let usual = member(&[Role::OrganizationUser, Role::SpaceManager, Role::SpaceDeveloper]);
    assert_eq!(answers(&usual, &org(), &space(), OrgStatus::Active), "y-yyyyyyy");
    assert_eq!(
        answers(&member(&Role::ALL), &org(), &space(), OrgStatus::Active),
        "yyyyyyyyy"
    );
}

#[test]
fn a_role_ends_at_the_border_of_its_org_and_space() {
    for role in Role::ALL {
        let p = member(&[role]);
        assert_eq!(
            answers(&p, &"other".into(), &"elsewhere".into(), OrgStatus::Active),
            "-h-hhh---",
            "{role}"
        );
        if role.is_space_role() {
            assert_eq!(
                answers(&p, &org(), &"elsewhere".into(), OrgStatus::Active),
                "-h-hhh---",
                "{role}"
            );
        }
    }
    // A space guid paired with another org than its own opens nothing.
    let p = member(&[Role::SpaceDeveloper]);
    assert_eq!(
        answers(&p, &"other".into(), &space(), OrgStatus::Active),
        "-h-hhh---"
    );
}

#[test]
fn scopes_above_roles_and_scopes_missing() {
    let all = || Role::ALL.into_iter().map(held);
    // scopes, without any role, with all roles
    let table: [(&[&str], &str, &str); 7] = [
        (&[scope::ADMIN], "yyyyyyyyy", "yyyyyyyyy"),
        (&[scope::ADMIN_READ_ONLY], "y-y---yyy", "y-y---yyy"),
        (&[scope::GLOBAL_AUDITOR], "y-y----yy", "y-y---yyy"),
        (&[scope::READ], "-h-hhh---", "y-y---yyy"),
        (&[scope::WRITE], "-h-hhh---", "-h-hhh---"),
        (&[scope::READ, scope::WRITE], "-h-hhh---", "yyyyyyyyy"),
        (&["openid"], "-h-hhh---", "-h-hhh---"),
    ];
    for (scopes, bare, full) in table {
        let p = Permissions::new(&client(scopes), []);
        assert_eq!(
            answers(&p, &org(), &space(), OrgStatus::Active),
            bare,
            "{scopes:?} without roles"
        );
        let p = Permissions::new(&client(scopes), all());
        assert_eq!(
            answers(&p, &org(), &space(), OrgStatus::Active),
            full,
            "{scopes:?} with all roles"
        );
    }
}

#[test]
fn suspension_stops_changes_but_admins() {
    let everyone = member(&Role::ALL);
    assert_eq!(
        answers(&everyone, &org(), &space(), OrgStatus::Suspended),
        "ysysssyyy"
    );
    let auditor = member(&[Role::SpaceAuditor]);
    assert_eq!(
        answers(&auditor, &org(), &space(), OrgStatus::Suspended),
        "-hy----yy"
    );
    let admin = Permissions::new(&client(&[scope::ADMIN]), []);
    assert_eq!(
        answers(&admin, &org(), &space(), OrgStatus::Suspended),
        "yyyyyyyyy"
    );
}

#[test]
fn lists_show_what_single_reads_show() {
    let only = |orgs: &[&str], spaces: &[&str]| Scope::Only {
        orgs: orgs.iter().map(|&o| o.into()).collect(),
        spaces: spaces.iter().map(|&s| s.into()).collect(),
    };
    // role, visible orgs, visible spaces, routes, events
    for role in Role::ALL {
        let p = member(&[role]);
        let (o, s) = (org(), space());
        let expect = |readable: bool| match (readable, role.is_space_role()) {
            (false, _) => only(&[], &[]),
            (true, false) => only(&["org"], &[]),
            (true, true) => only(&[], &["space"]),
        };
        assert_eq!(p.visible_orgs(), expect(p.can_read_org(&o)), "{role}");
        assert_eq!(p.visible_spaces(), expect(p.can_read_space(&o, &s)), "{role}");
        assert_eq!(p.visible_routes(), expect(p.can_read_routes(&o, &s)), "{role}");
        assert_eq!(p.visible_events(), expect(p.can_read_events(&o, &s)), "{role}");
    }
    for global in [scope::ADMIN, scope::ADMIN_READ_ONLY, scope::GLOBAL_AUDITOR] {
        assert_eq!(
            Permissions::new(&client(&[global]), []).visible_spaces(),
            Scope::All
        );
    }
    let blind = Permissions::new(&client(&[scope::WRITE]), Role::ALL.map(held));
    assert!(blind.visible_spaces().is_empty() && blind.visible_orgs().is_empty());
    assert!(!Scope::All.is_empty());
}

#[test]
fn misplaced_roles_give_nothing() {
    let misplaced = Role::ALL.map(|role| HeldRole {
        role,
        org: org(),
        space: (!role.is_space_role()).then(space),
    });
    let p = Permissions::new(&client(&[scope::READ, scope::WRITE]), misplaced);
    assert_eq!(answers(&p, &org(), &space(), OrgStatus::Active), "-h-hhh---");
}
