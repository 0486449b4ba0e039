//! The nouns of the house: typed ids, values, states and their legal moves, limits.
//!
//! Knows no I/O, no async, no SQL. Everything here is a plain value that any crate may hold; who may write it is said
//! on the type. Only documents that people write have a serialised form here.

mod digest;
mod guid;
mod health;
mod image;
mod limits;
mod lrp;
mod platform;
mod registry;
mod route;

pub use digest::{Digest, DigestError};
pub use guid::{
    AppGuid, BuildGuid, CellId, DropletGuid, InstanceGuid, OrgGuid, PackageGuid, ProcessGuid, SpaceGuid,
    UserGuid,
};
pub use health::{HealthCheck, HealthCheckKind};
pub use image::{Compression, ImageConfig, Layer, Port, Protocol, is_root_user};
pub use limits::{Limits, cpu_shares};
pub use lrp::{Denied, LrpEvent, LrpState};
pub use platform::Platform;
pub use registry::{AddressRules, Fallback, Mirror, Proxy, RegistrySettings};
pub use route::{RouteKey, RouteProtocol};
