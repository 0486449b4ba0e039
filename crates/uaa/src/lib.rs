//! uaa.
