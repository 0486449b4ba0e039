//! Routes, destinations and running instances → the table routers work from, and the difference between two tables.
//!
//! An instance is routed to while it is healthy and ready, its version is the process' present one and its index is
//! below the number of instances. So stopping, scaling down and replacing take an instance off the table at once,
//! before its container is asked to stop.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use model::{AppGuid, InstanceGuid, ProcessGuid, RouteKey, RouteProtocol};

/// A route and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedRoute {
    /// Guid of the route.
    pub guid: String,
    /// Its address.
    pub key: RouteKey,
    /// Where it leads. May be empty: the route exists, nothing serves it.
    pub destinations: Vec<Destination>,
}

/// One destination of a route, resolved to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The process.
    pub process: ProcessGuid,
    /// Port of the app; `None` is the first of the instance's ports.
    pub port: Option<u16>,
    /// Protocol spoken to the app.
    pub protocol: RouteProtocol,
}

/// A process that may be routed to: started, and not switched off by a feature flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedProcess {
    /// The process.
    pub process: ProcessGuid,
    /// Its app.
    pub app: AppGuid,
    /// Its present version.
    pub version: String,
    /// Number of instances.
    pub instances: u32,
}

/// An instance that is running and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedInstance {
    /// The instance.
    pub instance: InstanceGuid,
    /// Its process.
    pub process: ProcessGuid,
    /// Version of the process it was made for.
    pub version: String,
    /// Its index.
    pub index: u32,
    /// Address of its container.
    pub address: IpAddr,
    /// Its ports; the first is the default.
    pub ports: Vec<u16>,
}

/// Where one request may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Address of the app.
    pub address: SocketAddr,
    /// Protocol it speaks.
    pub protocol: RouteProtocol,
    /// Its app.
    pub app: AppGuid,
    /// Its process.
    pub process: ProcessGuid,
    /// The instance.
    pub instance: InstanceGuid,
    /// Its index.
    pub index: u32,
}

/// What the table says of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Guid of the route.
    pub route_guid: String,
    /// Where requests may go, by destination, then index. Empty when nothing serves the route.
    pub backends: Vec<Backend>,
}

/// All routes.
pub type RouteTable = BTreeMap<RouteKey, RouteEntry>;

/// What leads from one table to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChange {
    /// Entries that are new or differ, whole.
    pub upserts: Vec<(RouteKey, RouteEntry)>,
    /// Keys that are gone.
    pub removals: Vec<RouteKey>,
}

/// The table for these routes. Of two routes with one key the first is kept; the database allows no such pair.
pub fn build_table(
    routes: &[MappedRoute],
    processes: &[RoutedProcess],
    instances: &[RoutedInstance],
) -> RouteTable {
    let known: HashMap<&ProcessGuid, &RoutedProcess> = processes.iter().map(|p| (&p.process, p)).collect();
    let mut serving: HashMap<&ProcessGuid, Vec<&RoutedInstance>> = HashMap::new();
    for instance in instances {
        let wanted = |p: &&&RoutedProcess| p.version == instance.version && instance.index < p.instances;
        if known.get(&instance.process).filter(wanted).is_some() {
            serving.entry(&instance.process).or_default().push(instance);
        }
    }
    for group in serving.values_mut() {
        group.sort_by_key(|instance| (instance.index, &instance.instance));
    }
    let backends = |to: &Destination| -> Vec<Backend> {
        let Some(process) = known.get(&to.process) else {
            return Vec::new();
        };
        let group = serving.get(&to.process).map(Vec::as_slice).unwrap_or_default();
        group
            .iter()
            .filter_map(|instance| backend(to, instance, &process.app))
            .collect()
    };
    let mut table = RouteTable::new();
    for route in routes {
        table.entry(route.key.clone()).or_insert_with(|| RouteEntry {
            route_guid: route.guid.clone(),
            backends: route.destinations.iter().flat_map(backends).collect(),
        });
    }
    table
}

/// The instance as seen by a destination; `None` when neither names a port.
fn backend(to: &Destination, from: &RoutedInstance, app: &AppGuid) -> Option<Backend> {
    let port = to.port.or_else(|| from.ports.first().copied())?;
    Some(Backend {
        address: SocketAddr::new(from.address, port),
        protocol: to.protocol,
        app: app.clone(),
        process: from.process.clone(),
        instance: from.instance.clone(),
        index: from.index,
    })
}

/// What turns `old` into `new`.
pub fn diff(old: &RouteTable, new: &RouteTable) -> TableChange {
    let changed = new.iter().filter(|(key, entry)| old.get(key) != Some(entry));
    let gone = old.keys().filter(|key| !new.contains_key(key));
    TableChange {
        upserts: changed.map(|(key, entry)| (key.clone(), entry.clone())).collect(),
        removals: gone.cloned().collect(),
    }
}

impl TableChange {
    /// Whether the tables were equal.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }

    /// Carries the change out.
    pub fn apply(self, table: &mut RouteTable) {
        for key in &self.removals {
            table.remove(key);
        }
        table.extend(self.upserts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, destinations: &[(&str, Option<u16>)]) -> MappedRoute {
        let to = |&(process, port): &(&str, Option<u16>)| Destination {
            process: process.into(),
            port,
            protocol: RouteProtocol::Http1,
        };
        let destinations = destinations.iter().map(to).collect();
        MappedRoute {
            guid: format!("guid-{host}"),
            key: RouteKey::new(host, ""),
            destinations,
        }
    }

    fn process(guid: &str, instances: u32) -> RoutedProcess {
        let app = format!("app-{guid}");
        RoutedProcess {
            process: guid.into(),
            app: app.into(),
            version: "v1".into(),
            instances,
        }
    }

    fn instance(process: &str, version: &str, index: u32) -> RoutedInstance {
        RoutedInstance {
            instance: format!("{process}-{version}-{index}").into(),
            process: process.into(),
            version: version.into(),
            index,
            address: [10, 0, 0, index as u8].into(),
            ports: vec![8080, 9090],
        }
    }

    fn backends(table: &RouteTable, host: &str) -> Vec<String> {
        let entry = &table[&RouteKey::new(host, "")];
        entry
            .backends
            .iter()
            .map(|b| format!("{} {} {}", b.app, b.instance, b.address))
            .collect()
    }

    #[test]
    fn only_wanted_instances_serve() {
        let routes = [
            route("a", &[("p", None)]),
            route("b", &[("p", Some(9090)), ("q", None)]),
            route("c", &[]),
        ];
        let instances = [
            instance("p", "v1", 1),
            instance("p", "v1", 0),
            instance("p", "v1", 2),
            instance("p", "v0", 0),
            instance("q", "v1", 0),
            instance("stopped", "v1", 0),
        ];
        let table = build_table(&routes, &[process("p", 2), process("q", 1)], &instances);
        assert_eq!(
            backends(&table, "a"),
            ["app-p p-v1-0 10.0.0.0:8080", "app-p p-v1-1 10.0.0.1:8080"]
        );
        assert_eq!(
            backends(&table, "b"),
            [
                "app-p p-v1-0 10.0.0.0:9090",
                "app-p p-v1-1 10.0.0.1:9090",
                "app-q q-v1-0 10.0.0.0:8080"
            ]
        );
        assert!(backends(&table, "c").is_empty());
    }

    #[test]
    fn an_instance_without_ports_is_reached_only_where_a_port_is_named() {
        let silent = RoutedInstance {
            ports: Vec::new(),
            ..instance("p", "v1", 0)
        };
        let routes = [route("a", &[("p", None)]), route("b", &[("p", Some(5000))])];
        let table = build_table(&routes, &[process("p", 1)], &[silent]);
        assert!(backends(&table, "a").is_empty());
        assert_eq!(backends(&table, "b"), ["app-p p-v1-0 10.0.0.0:5000"]);
    }

    #[test]
    fn the_difference_leads_from_one_table_to_the_other() {
        let processes = [process("p", 2)];
        let one = [instance("p", "v1", 0)];
        let two = [instance("p", "v1", 0), instance("p", "v1", 1)];
        let old = build_table(
            &[route("a", &[("p", None)]), route("b", &[]), route("c", &[])],
            &processes,
            &one,
        );
        let new = build_table(
            &[route("a", &[("p", None)]), route("b", &[]), route("d", &[])],
            &processes,
            &two,
        );
        let change = diff(&old, &new);
        let hosts = |keys: Vec<&RouteKey>| keys.iter().map(|k| k.host.clone()).collect::<Vec<_>>();
        assert_eq!(
            hosts(change.upserts.iter().map(|(key, _)| key).collect()),
            ["a", "d"]
        );
        assert_eq!(hosts(change.removals.iter().collect()), ["c"]);
        let mut table = old;
        change.apply(&mut table);
        assert_eq!(table, new);
        assert!(diff(&table, &new).is_empty());
    }
}
