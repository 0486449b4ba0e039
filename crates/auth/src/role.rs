//! The eight roles of Cloud Foundry: four in an org, four in a space.

use std::fmt;
use std::str::FromStr;

use model::{OrgGuid, SpaceGuid};

/// A kind of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Belongs to the org; needed before any role in its spaces.
    OrganizationUser,
    /// Reads the org.
    OrganizationAuditor,
    /// Manages the org, its spaces and its members.
    OrganizationManager,
    /// Reads the org, its quota and bills.
    OrganizationBillingManager,
    /// Reads the space.
    SpaceAuditor,
    /// Deploys and operates apps.
    SpaceDeveloper,
    /// Manages the space's members and settings.
    SpaceManager,
    /// Operates apps, cannot create or delete them.
    SpaceSupporter,
}

/// A text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role type {0:?}")]
pub struct UnknownRole(String);

/// A role somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRole {
    /// Which.
    pub role: Role,
    /// In which org; for space roles the org of the space.
    pub org: OrgGuid,
    /// In which space; `None` exactly for org roles.
    pub space: Option<SpaceGuid>,
}

impl Role {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 8] = [
        Self::OrganizationUser,
        Self::OrganizationAuditor,
        Self::OrganizationManager,
        Self::OrganizationBillingManager,
        Self::SpaceAuditor,
        Self::SpaceDeveloper,
        Self::SpaceManager,
        Self::SpaceSupporter,
    ];

    /// The role's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrganizationUser => "organization_user",
            Self::OrganizationAuditor => "organization_auditor",
            Self::OrganizationManager => "organization_manager",
            Self::OrganizationBillingManager => "organization_billing_manager",
            Self::SpaceAuditor => "space_auditor",
            Self::SpaceDeveloper => "space_developer",
            Self::SpaceManager => "space_manager",
            Self::SpaceSupporter => "space_supporter",
        }
    }

    /// Whether it is held in a space rather than in an org.
    pub fn is_space_role(self) -> bool {
        matches!(
            self,
            Self::SpaceAuditor | Self::SpaceDeveloper | Self::SpaceManager | Self::SpaceSupporter
        )
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.chars().take(100).collect()))
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleSet(u8);

impl RoleSet {
    pub(crate) const fn of(roles: &[Role]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    pub(crate) fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_tell_where_the_role_is_held() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(role.is_space_role(), role.as_str().starts_with("space_"));
        }
        for bad in ["", "admin", "Space_developer", "space_developer "] {
            assert!(bad.parse::<Role>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        for role in Role::ALL {
            for other in Role::ALL {
                assert_eq!(
                    RoleSet::default().with(role).meets(RoleSet::of(&[other])),
                    role == other
                );
            }
        }
    }
}
