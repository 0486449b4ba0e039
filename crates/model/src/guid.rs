//! Typed ids, one per noun, so that an app's guid cannot be passed where a space's is meant.
//!
//! The value is opaque text chosen by whoever creates the noun (a UUID, except for [`CellId`]).

use std::fmt;

macro_rules! guid {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Wraps text that is already known to be such an id.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )+};
}

guid! {
    /// An organization.
    OrgGuid,
    /// A space within an organization.
    SpaceGuid,
    /// An app within a space.
    AppGuid,
    /// A process (`web`, `worker`…) of an app.
    ProcessGuid,
    /// A package: here always a reference to an image.
    PackageGuid,
    /// One staging of a package.
    BuildGuid,
    /// The result of a build: a pinned image and what was read from its metadata.
    DropletGuid,
    /// A user or a client as the identity server knows it.
    UserGuid,
    /// One instance of a process, and the id of its container; never reused.
    InstanceGuid,
    /// A cell: a machine that runs containers.
    CellId,
}
