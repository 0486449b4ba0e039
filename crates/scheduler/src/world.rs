//! One reading of the database: all a pass decides from, seen at one moment.

use std::collections::{HashMap, HashSet};

use model::{AppGuid, CellId, InstanceGuid, ProcessGuid, RouteKey, RouteProtocol};
use planner::{
    ActualLrp, CellHealth, CellState, DesiredLrp, Destination, DockerFlag, Lifecycle, MappedRoute, Resources,
    RoutedProcess, Snapshot,
};
use store::{
    Query, Store, StoreError, Tx, actual_lrp, desired_lrp, destination, domain, feature_flag, process, route,
};

use crate::pinned::PinnedCache;
use crate::rows::{Rows, state_of};

const DOCKER_FLAG: &str = "diego_docker";

/// Desired and actual state, and the routes.
pub(crate) struct World {
    /// Whether apps made from images may run.
    pub(crate) docker: DockerFlag,
    /// Processes of started apps.
    pub(crate) desired: Vec<DesiredLrp>,
    /// Processes routes may lead to.
    pub(crate) routed: Vec<RoutedProcess>,
    /// Every instance row.
    pub(crate) rows: Rows,
    /// Every public route.
    pub(crate) routes: Vec<MappedRoute>,
}

impl World {
    pub(crate) async fn read(store: &Store, pinned: &mut PinnedCache) -> Result<Self, StoreError> {
        let tx = store.read().await?;
        let docker = docker_flag(&tx).await?;
        // A process is to run exactly if a desired row has its present version.
        let started = Query::<process::Entity>::new().within::<desired_lrp::Entity>(
            process::Column::Version,
            desired_lrp::Column::Guid,
            Query::new(),
        );
        let processes = tx.all(started).await?;
        let versions: HashSet<&str> = processes.iter().map(|p| p.version.as_str()).collect();
        pinned.refresh(&tx, &versions).await?;
        let pairs = processes.iter().filter_map(|p| Some((p, desired(p, pinned)?)));
        let (mut wanted, mut routed) = (Vec::new(), Vec::new());
        for (process, desired) in pairs {
            if docker == DockerFlag::Enabled || desired.lifecycle != Lifecycle::Docker {
                routed.push(RoutedProcess {
                    process: desired.process.clone(),
                    app: AppGuid::new(&process.app_guid),
                    version: desired.version.clone(),
                    instances: desired.instances,
                });
            }
            wanted.push(desired);
        }
        Ok(Self {
            docker,
            desired: wanted,
            routed,
            rows: Rows::read(&tx).await?,
            routes: routes(&tx, &processes).await?,
        })
    }

    /// The picture the planner decides from. Cells that rows name and nobody knows are listed as lost.
    pub(crate) fn snapshot(&self, now_ns: i64, mut cells: Vec<CellState>) -> Snapshot {
        let actual: Vec<ActualLrp> = self.rows.iter().map(actual).collect();
        let mut listed: HashSet<CellId> = cells.iter().map(|cell| cell.id.clone()).collect();
        for id in actual.iter().filter_map(|row| row.cell.as_ref()) {
            if listed.insert(id.clone()) {
                cells.push(CellState {
                    id: id.clone(),
                    capacity: Resources::default(),
                    architecture: String::new(),
                    health: CellHealth::Lost,
                    held: None,
                });
            }
        }
        Snapshot {
            now_ns,
            docker: self.docker,
            desired: self.desired.clone(),
            actual,
            cells,
        }
    }
}

/// A flag nobody has written is off: the default of this one.
async fn docker_flag(tx: &Tx) -> Result<DockerFlag, StoreError> {
    let flag = tx.find::<feature_flag::Entity>(DOCKER_FLAG).await?;
    Ok(match flag {
        Some(flag) if flag.enabled => DockerFlag::Enabled,
        _ => DockerFlag::Disabled,
    })
}

fn desired(process: &process::Model, pinned: &PinnedCache) -> Option<DesiredLrp> {
    let known = pinned.get(&process.version)?;
    Some(DesiredLrp {
        process: ProcessGuid::new(&process.guid),
        version: process.version.clone(),
        instances: u32::try_from(process.instances.max(0)).unwrap_or(u32::MAX),
        memory_mb: known.memory_mb,
        disk_mb: known.disk_mb,
        lifecycle: known.lifecycle,
        // Staging admits images for the platform of the cells only.
        architecture: None,
    })
}

fn actual(row: &actual_lrp::Model) -> ActualLrp {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    let small = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    ActualLrp {
        instance: InstanceGuid::new(&row.guid),
        process: ProcessGuid::new(&row.process_guid),
        version: row.process_version.clone(),
        index: small(row.instance_index),
        state: state_of(row),
        cell: row.cell_id.as_deref().map(CellId::new),
        crash_count: small(row.crash_count),
        since_ns: row.since_ns,
        placement_error: row.placement_error.clone(),
        retry_at_ns: row.retry_at_ns,
        size: (row.memory_mb > 0).then(|| (unsigned(row.memory_mb), unsigned(row.disk_mb))),
    }
}

/// Routes under public domains, with destinations resolved to processes that run. Internal domains are left out: what
/// is behind them must not answer at the front door.
async fn routes(tx: &Tx, processes: &[process::Model]) -> Result<Vec<MappedRoute>, StoreError> {
    let domains: HashMap<String, String> = tx
        .all(Query::<domain::Entity>::new().eq(domain::Column::Internal, false))
        .await?
        .into_iter()
        .map(|domain| (domain.guid, domain.name))
        .collect();
    let by_type: HashMap<(&str, &str), &str> = processes
        .iter()
        .map(|p| ((p.app_guid.as_str(), p.kind.as_str()), p.guid.as_str()))
        .collect();
    let mut leading: HashMap<String, Vec<Destination>> = HashMap::new();
    for row in tx.all(Query::<destination::Entity>::new()).await? {
        if let Some(process) = by_type.get(&(row.app_guid.as_str(), row.process_type.as_str())) {
            let to = destination(&row, process);
            leading.entry(row.route_guid).or_default().push(to);
        }
    }
    let rows = tx.all(Query::<route::Entity>::new()).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let domain = domains.get(&row.domain_guid)?;
            let dot = if row.host.is_empty() { "" } else { "." };
            Some(MappedRoute {
                key: RouteKey::new(&format!("{}{dot}{domain}", row.host), &row.path),
                destinations: leading.remove(&row.guid).unwrap_or_default(),
                guid: row.guid,
            })
        })
        .collect())
}

fn destination(row: &destination::Model, process: &str) -> Destination {
    Destination {
        process: ProcessGuid::new(process),
        port: row.port.and_then(|port| u16::try_from(port).ok()),
        protocol: if row.protocol == "http2" {
            RouteProtocol::Http2
        } else {
            RouteProtocol::Http1
        },
    }
}
