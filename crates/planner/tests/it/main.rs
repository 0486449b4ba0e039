//! The planner against whole worlds: properties over arbitrary pictures, and size.

mod properties;
mod scale;
