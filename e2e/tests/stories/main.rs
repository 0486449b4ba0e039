//! One file a story. Each starts a platform of its own, drives it through the built-in client always and through the
//! official `cf` where that is on PATH, and demands that nothing is left behind.

mod big_image;
mod crash;
mod day;
mod flag;
mod front_door;
mod logs;
mod operator;
mod outage;
mod private_image;
mod python_client;
mod registry;
mod survival;
mod tenants;
mod world;
