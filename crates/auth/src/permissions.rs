//! Who may do what: the reference's rules as data, and pure questions over them.
//!
//! Rules: cloudfoundry/cloud_controller_ng:lib/cloud_controller/permissions.rb. Three scopes stand above roles:
//! `admin` may do everything, `admin_read_only` reads everything, `global_auditor` reads everything but secrets.
//! Everyone else needs the `read` or `write` scope *and* a role. What cannot be read does not exist for the caller
//! (404); what can be read but not changed is forbidden (403); in a suspended org only admins change anything.
//!
//! Reads answer `bool`. Writes answer `Result<(), Forbidden>`, which already says which of the three it is.

use std::collections::BTreeMap;

use model::{OrgGuid, SpaceGuid};

use crate::Role::{
    OrganizationAuditor, OrganizationBillingManager, OrganizationManager, OrganizationUser, SpaceAuditor,
    SpaceDeveloper, SpaceManager, SpaceSupporter,
};
use crate::role::RoleSet;
use crate::{HeldRole, Identity};

const READ_ORG: RoleSet = RoleSet::of(&[
    OrganizationManager,
    OrganizationAuditor,
    OrganizationUser,
    OrganizationBillingManager,
]);
const WRITE_ORG: RoleSet = RoleSet::of(&[OrganizationManager]);
const READ_SPACE: RoleSet = RoleSet::of(&[
    SpaceDeveloper,
    SpaceManager,
    SpaceAuditor,
    SpaceSupporter,
    OrganizationManager,
]);
const READ_ROUTES: RoleSet = RoleSet::of(&[
    SpaceDeveloper,
    SpaceManager,
    SpaceAuditor,
    SpaceSupporter,
    OrganizationManager,
    OrganizationAuditor,
]);
const WRITE_SPACE: RoleSet = RoleSet::of(&[SpaceDeveloper]);
const MANAGE_APPS: RoleSet = RoleSet::of(&[SpaceDeveloper, SpaceSupporter]);
const UPDATE_SPACE: RoleSet = RoleSet::of(&[SpaceManager, OrganizationManager]);
const READ_SECRETS: RoleSet = RoleSet::of(&[SpaceDeveloper]);
const READ_EVENTS: RoleSet = RoleSet::of(&[SpaceAuditor, SpaceDeveloper, SpaceSupporter]);

/// Whether an org is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrgStatus {
    /// In use.
    Active,
    /// Only admins may change anything in it.
    Suspended,
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The caller cannot even see it: answer as if it did not exist.
    #[error("not visible to the caller")]
    Hidden,
    /// Visible, but the caller lacks the role or scope.
    #[error("the caller's roles do not allow this")]
    NotAuthorized,
    /// The caller's roles would allow it, were the org not suspended.
    #[error("the organization is suspended")]
    OrgSuspended,
}

/// Which rows a list may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Rows of these orgs, all their spaces included, and rows of these single spaces. Sorted, without doubles;
    /// both empty means none.
    Only {
        /// Whole orgs.
        orgs: Vec<OrgGuid>,
        /// Single spaces.
        spaces: Vec<SpaceGuid>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Member,
    GlobalAuditor,
    AdminReadOnly,
    Admin,
}

/// What one caller may do. Made per request from a checked token and the roles read from the database.
#[derive(Clone, Debug)]
pub struct Permissions {
    rank: Rank,
    reads: bool,
    writes: bool,
    orgs: BTreeMap<OrgGuid, RoleSet>,
    spaces: BTreeMap<SpaceGuid, (OrgGuid, RoleSet)>,
}

impl Permissions {
    /// The permissions of a caller who holds these roles. Roles with and without a space where the kind demands
    /// the opposite are ignored.
    pub fn new(identity: &Identity, held: impl IntoIterator<Item = HeldRole>) -> Self {
        let mut orgs: BTreeMap<OrgGuid, RoleSet> = BTreeMap::new();
        let mut spaces: BTreeMap<SpaceGuid, (OrgGuid, RoleSet)> = BTreeMap::new();
        for HeldRole { role, org, space } in held {
            match (role.is_space_role(), space) {
                (true, Some(space)) => {
                    let entry = spaces.entry(space).or_insert_with(|| (org, RoleSet::default()));
                    entry.1 = entry.1.with(role);
                }
                (false, None) => {
                    let entry = orgs.entry(org).or_default();
                    *entry = entry.with(role);
                }
                (true, None) | (false, Some(_)) => {}
            }
        }
        let rank = rank(identity);
        Self {
            rank,
            reads: identity.can_read(),
            writes: identity.can_write(),
            orgs,
            spaces,
        }
    }

    /// Reads everything but secrets, everywhere.
    pub fn can_read_globally(&self) -> bool {
        self.rank >= Rank::GlobalAuditor
    }

    /// Reads secrets everywhere.
    pub fn can_read_secrets_globally(&self) -> bool {
        self.rank >= Rank::AdminReadOnly
    }

    /// Changes everything: shared domains, quotas, feature flags, other people's orgs.
    pub fn can_write_globally(&self) -> bool {
        self.rank == Rank::Admin
    }

    /// Sees the org.
    pub fn can_read_org(&self, org: &OrgGuid) -> bool {
        self.can_read_globally() || self.reads && self.holds_in_org(org, READ_ORG)
    }

    /// Changes the org: spaces, private domains, members, settings.
    pub fn can_write_org(&self, org: &OrgGuid, status: OrgStatus) -> Result<(), Forbidden> {
        self.judge(self.can_read_org(org), self.holds_in_org(org, WRITE_ORG), status)
    }

    /// Sees the space, its apps, builds, droplets, services.
    pub fn can_read_space(&self, org: &OrgGuid, space: &SpaceGuid) -> bool {
        self.reads_space(org, space, READ_SPACE)
    }

    /// Creates, changes and deletes apps, packages, routes and services of the space; enters its containers.
    pub fn can_write_space(
        &self,
        org: &OrgGuid,
        space: &SpaceGuid,
        status: OrgStatus,
    ) -> Result<(), Forbidden> {
        self.judge(
            self.can_read_space(org, space),
            self.holds(org, space, WRITE_SPACE),
            status,
        )
    }

    /// Starts, stops, scales, restarts, builds and deploys apps that exist.
    pub fn can_manage_apps(
        &self,
        org: &OrgGuid,
        space: &SpaceGuid,
        status: OrgStatus,
    ) -> Result<(), Forbidden> {
        self.judge(
            self.can_read_space(org, space),
            self.holds(org, space, MANAGE_APPS),
            status,
        )
    }

    /// Changes the space itself and its members.
    pub fn can_update_space(
        &self,
        org: &OrgGuid,
        space: &SpaceGuid,
        status: OrgStatus,
    ) -> Result<(), Forbidden> {
        self.judge(
            self.can_read_space(org, space),
            self.holds(org, space, UPDATE_SPACE),
            status,
        )
    }

    /// Reads environment variables, credentials, package and droplet data.
    pub fn can_read_secrets(&self, org: &OrgGuid, space: &SpaceGuid) -> bool {
        self.can_read_secrets_globally() || self.reads && self.holds(org, space, READ_SECRETS)
    }

    /// Reads the audit events of the space.
    pub fn can_read_events(&self, org: &OrgGuid, space: &SpaceGuid) -> bool {
        self.reads_space(org, space, READ_EVENTS)
    }

    /// Sees the routes of the space.
    pub fn can_read_routes(&self, org: &OrgGuid, space: &SpaceGuid) -> bool {
        self.reads_space(org, space, READ_ROUTES)
    }

    /// Orgs a list shows; the scope names whole orgs only.
    pub fn visible_orgs(&self) -> Scope {
        self.scope(READ_ORG)
    }

    /// Spaces, and what is in them, a list shows.
    pub fn visible_spaces(&self) -> Scope {
        self.scope(READ_SPACE)
    }

    /// Spaces whose routes a list shows.
    pub fn visible_routes(&self) -> Scope {
        self.scope(READ_ROUTES)
    }

    /// Spaces whose audit events a list shows.
    pub fn visible_events(&self) -> Scope {
        self.scope(READ_EVENTS)
    }

    fn judge(&self, visible: bool, holds: bool, status: OrgStatus) -> Result<(), Forbidden> {
        match (self.rank, visible, holds && self.writes, status) {
            (Rank::Admin, ..) | (_, true, true, OrgStatus::Active) => Ok(()),
            (_, false, ..) => Err(Forbidden::Hidden),
            (_, true, false, _) => Err(Forbidden::NotAuthorized),
            (_, true, true, OrgStatus::Suspended) => Err(Forbidden::OrgSuspended),
        }
    }

    fn reads_space(&self, org: &OrgGuid, space: &SpaceGuid, wanted: RoleSet) -> bool {
        self.can_read_globally() || self.reads && self.holds(org, space, wanted)
    }

    fn holds_in_org(&self, org: &OrgGuid, wanted: RoleSet) -> bool {
        self.orgs.get(org).is_some_and(|roles| roles.meets(wanted))
    }

    fn holds(&self, org: &OrgGuid, space: &SpaceGuid, wanted: RoleSet) -> bool {
        let in_space = |(home, roles): &(OrgGuid, RoleSet)| home == org && roles.meets(wanted);
        self.spaces.get(space).is_some_and(in_space) || self.holds_in_org(org, wanted)
    }

    fn scope(&self, wanted: RoleSet) -> Scope {
        if self.can_read_globally() {
            return Scope::All;
        }
        if !self.reads {
            return Scope::Only {
                orgs: Vec::new(),
                spaces: Vec::new(),
            };
        }
        let orgs = self
            .orgs
            .iter()
            .filter(|(_, roles)| roles.meets(wanted))
            .map(|(org, _)| org.clone());
        let spaces = self
            .spaces
            .iter()
            .filter(|(_, (_, roles))| roles.meets(wanted))
            .map(|(space, _)| space.clone());
        Scope::Only {
            orgs: orgs.collect(),
            spaces: spaces.collect(),
        }
    }
}

impl Scope {
    /// Whether nothing at all is shown, so that the database need not be asked.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Only { orgs, spaces } if orgs.is_empty() && spaces.is_empty())
    }
}

fn rank(identity: &Identity) -> Rank {
    if identity.is_admin() {
        Rank::Admin
    } else if identity.is_admin_read_only() {
        Rank::AdminReadOnly
    } else if identity.is_global_auditor() {
        Rank::GlobalAuditor
    } else {
        Rank::Member
    }
}

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;
