//! The planner against whole worlds: a seeded simulation with faults, properties over arbitrary pictures, and size.

mod properties;
mod scale;
mod simulation;
mod world;
