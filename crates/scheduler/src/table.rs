//! World and cells → the route table.
//!
//! An instance is routed to while its row says running and ready, its cell does not say otherwise, and nobody is about
//! to end it. The rest is the planner's.

use std::collections::HashSet;

use model::{CellId, InstanceGuid, LrpState, ProcessGuid};
use planner::{RouteTable, RoutedInstance, build_table};
use store::actual_lrp::Model;
use tracing::debug;

use crate::cell::Cells;
use crate::rows::state_of;
use crate::world::World;

/// The table for this moment; instances in `ending` get no requests.
pub(crate) fn build(world: &World, cells: &Cells, ending: &HashSet<InstanceGuid>) -> RouteTable {
    let instances: Vec<RoutedInstance> = world
        .rows
        .iter()
        .filter(|row| row.ready && serves(row, cells))
        .filter_map(routed)
        .filter(|instance| !ending.contains(&instance.instance))
        .collect();
    build_table(&world.routes, &world.routed, &instances)
}

/// A row that runs, unless its cell knows better.
fn serves(row: &Model, cells: &Cells) -> bool {
    let cell = row.cell_id.as_deref().map(CellId::new);
    state_of(row) == LrpState::Running && cell.is_some_and(|cell| cells.may_serve(&cell, &row.guid))
}

fn routed(row: &Model) -> Option<RoutedInstance> {
    let address = row.address.as_deref()?.parse();
    let ports = serde_json::from_str(&row.ports);
    let (Ok(address), Ok(ports)) = (address, ports) else {
        debug!(
            instance = row.guid,
            "an instance row has no usable address; no route leads to it"
        );
        return None;
    };
    Some(RoutedInstance {
        instance: InstanceGuid::new(&row.guid),
        process: ProcessGuid::new(&row.process_guid),
        version: row.process_version.clone(),
        index: u32::try_from(row.instance_index).ok()?,
        address,
        ports,
    })
}
