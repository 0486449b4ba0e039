//! Lines about and from an instance, on their way to the log store.

mod bucket;
mod pump;
mod voice;

pub(crate) use pump::{Meter, Output, Pump};
pub(crate) use voice::{Stream, Voice};
