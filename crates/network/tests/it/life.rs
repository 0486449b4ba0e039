//! Coming, going, restarts, kills.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use network::{Error, Network, destroy_leftovers, first_free, hosts, listening_ports, probe};

use crate::lab::{Space, connect, interfaces, ip, leases, on_a_fresh_host};

const LONG: Duration = Duration::from_secs(10);

#[test]
fn this_kernel_has_all_parts() {
    for (part, outcome) in probe() {
        assert_eq!(outcome, Ok(()), "{part}");
    }
}

#[test]
fn detach_and_destroy_leave_nothing() {
    on_a_fresh_host(|lab| {
        let network = lab.network("gone", "10.201.0.0/16");
        let (space, attached) = lab.container(&network, "a");
        let (_other, _) = lab.container(&network, "b");
        assert_eq!(interfaces().len(), 3);
        network.detach("a").unwrap();
        network.detach("a").unwrap();
        network.detach("never-attached").unwrap();
        assert_eq!(network.list().len(), 1);
        assert!(network.settle(LONG));
        assert_eq!(interfaces().len(), 2);
        assert_eq!(leases(&lab.state("gone")).len(), 1);
        assert!(!ip("neigh show dev slw-gone").contains(&attached.address.to_string()));
        // The namespace is free for a new link, of the same or another id.
        network.attach("c", space.pid()).unwrap();

        network.destroy().unwrap();
        network.destroy().unwrap();
        assert!(interfaces().is_empty());
        assert!(leases(&lab.state("gone")).is_empty());
    });
}

#[test]
fn attaching_again_keeps_or_moves_the_address() {
    on_a_fresh_host(|lab| {
        let network = lab.network("again", "10.201.0.0/16");
        let (first, attached) = lab.container(&network, "a");
        let listener = first.listen("0.0.0.0:80");
        let mut client = connect((attached.address, 80)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(network.attach("a", first.pid()).unwrap(), attached);
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();

        // The runtime made a new sandbox under the same id.
        let second = Space::user_namespaced();
        assert_eq!(network.attach("a", second.pid()).unwrap(), attached);
        let _listener = second.listen("0.0.0.0:81");
        connect((attached.address, 81)).unwrap();

        // Leaving and coming back at once waits for the old link to go.
        network.detach("a").unwrap();
        let third = Space::user_namespaced();
        let attached = network.attach("a", third.pid()).unwrap();
        let _listener = third.listen("0.0.0.0:82");
        connect((attached.address, 82)).unwrap();
    });
}

#[test]
fn a_restart_adopts_what_runs() {
    on_a_fresh_host(|lab| {
        let outside = lab.outside();
        let network = lab.network("adopt", "10.201.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        let server = outside.listen("0.0.0.0:80");
        let mut client = container.connect(([203, 0, 113, 2], 80)).unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        let bridge = ip("-o link show dev slw-adopt");

        // As after a kill: nothing is told to the kernel.
        drop(network);
        let network = lab.network("adopt", "10.201.0.0/16");
        assert_eq!(ip("-o link show dev slw-adopt"), bridge);
        assert_eq!(network.list(), [("a".to_owned(), attached.address)]);
        accepted.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        container.connect(([203, 0, 113, 2], 80)).unwrap();
        let (_new, at) = lab.container(&network, "b");
        assert_ne!(at.address, attached.address);
    });
}

#[test]
fn sweep_removes_what_nobody_wants_and_repairs_the_rest() {
    on_a_fresh_host(|lab| {
        let network = lab.network("sweep", "10.201.0.0/16");
        let (kept, at) = lab.container(&network, "kept");
        let (_unwanted, _) = lab.container(&network, "unwanted");
        let (_orphan, orphan) = lab.container(&network, "orphan");
        drop(network);
        std::fs::remove_file(lab.state("sweep").join("leases").join(orphan.address.to_string())).unwrap();
        assert_eq!(interfaces().len(), 4);

        let network = lab.network("sweep", "10.201.0.0/16");
        let keep = HashSet::from(["kept".to_owned(), "not-here-yet".to_owned()]);
        assert_eq!(network.sweep(&keep).unwrap(), ["unwanted"]);
        assert!(network.settle(LONG));
        assert_eq!(interfaces().len(), 2);
        assert_eq!(leases(&lab.state("sweep")), [at.address.to_string()]);
        assert!(network.sweep(&keep).unwrap().is_empty());
        let _app = kept.listen("0.0.0.0:80");
        connect((at.address, 80)).unwrap();
    });
}

#[test]
fn a_container_that_died_by_itself_is_detached_quietly() {
    on_a_fresh_host(|lab| {
        let network = lab.network("died", "10.201.0.0/16");
        let (space, _) = lab.container(&network, "a");
        drop(space);
        network.detach("a").unwrap();
        assert!(network.settle(LONG));
        assert!(leases(&lab.state("died")).is_empty());
        assert_eq!(interfaces(), ["slw-died"]);
    });
}

#[test]
fn leftovers_are_found_by_name_alone() {
    on_a_fresh_host(|lab| {
        let network = lab.network("left", "10.201.0.0/16");
        let bystander = lab.network("by", "10.202.0.0/16");
        let (_space, _) = lab.container(&network, "a");
        let (_other, _) = lab.container(&bystander, "a");
        drop(network);
        std::fs::remove_dir_all(lab.state("left")).unwrap();
        destroy_leftovers("left").unwrap();
        destroy_leftovers("left").unwrap();
        assert_eq!(interfaces().len(), 2);
        assert!(interfaces().contains(&"slw-by".to_owned()));
    });
}

#[test]
fn a_range_that_is_in_use_is_refused_by_name() {
    on_a_fresh_host(|lab| {
        let _outside = lab.outside();
        ip("link add lan type bridge");
        ip("addr add 10.201.7.1/24 dev lan");
        ip("link set lan up");
        ip("route add 10.64.0.0/10 via 203.0.113.2");
        for (cidr, expected) in [
            ("10.201.0.0/16", "10.201.7.1/24 of the host's interface lan"),
            ("10.100.0.0/16", "the host's route to 10.64.0.0/10 by wan"),
        ] {
            let error = Network::open(lab.settings("busy", cidr)).unwrap_err();
            let Error::Overlap { what, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(what, expected);
            assert!(error.to_string().contains("--container-network"), "{error}");
        }
        assert!(!interfaces().contains(&"slw-busy".to_owned()));
        let candidates =
            ["10.201.0.0/16", "10.100.0.0/16", "10.202.0.0/16"].map(|cidr| cidr.parse().unwrap());
        assert_eq!(first_free("busy", &candidates).unwrap(), Some(candidates[2]));
        let _network = lab.network("busy", "10.202.0.0/16");
        assert_eq!(first_free("busy", &candidates).unwrap(), Some(candidates[2]));
        assert_eq!(first_free("other", &candidates).unwrap(), None);
    });
}

#[test]
fn the_range_changes_only_while_nothing_runs() {
    on_a_fresh_host(|lab| {
        let network = lab.network("move", "10.201.0.0/16");
        let (_space, _) = lab.container(&network, "a");
        drop(network);
        let error = Network::open(lab.settings("move", "10.202.0.0/16")).unwrap_err();
        assert!(
            matches!(&error, Error::CidrChanged { bridge, .. } if bridge == "slw-move"),
            "{error:?}"
        );

        let network = lab.network("move", "10.201.0.0/16");
        network.detach("a").unwrap();
        drop(network);
        let network = lab.network("move", "10.202.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        assert_eq!(attached.gateway, Ipv4Addr::new(10, 202, 0, 1));
        let _app = container.listen("0.0.0.0:80");
        connect((attached.address, 80)).unwrap();
    });
}

#[test]
fn what_cannot_be_attached_says_why_and_leaves_nothing() {
    on_a_fresh_host(|lab| {
        let network = lab.network("refuse", "10.201.0.0/16");
        // A thread's own namespace is what the network was opened in.
        let sibling = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn();
        let mut sibling = sibling.unwrap();
        let error = network.attach("a", sibling.id()).unwrap_err();
        assert!(error.to_string().contains("shares the network"), "{error}");
        let pid = sibling.id();
        sibling.kill().unwrap();
        sibling.wait().unwrap();
        assert!(matches!(network.attach("a", pid), Err(Error::Namespace { .. })));
        assert!(matches!(network.attach("../a", pid), Err(Error::Id(_))));

        let (space, _) = lab.container(&network, "first");
        let error = network.attach("second", space.pid()).unwrap_err();
        assert!(
            error.to_string().contains("does not belong to container second"),
            "{error}"
        );
        assert_eq!(network.list().len(), 1);
        assert_eq!(interfaces().len(), 2);
    });
}

#[test]
fn many_come_and_go_at_once() {
    on_a_fresh_host(|lab| {
        let network = lab.network("many", "10.201.0.0/16");
        let spaces: Vec<Space> = (0..12).map(|_| Space::user_namespaced()).collect();
        std::thread::scope(|scope| {
            for (at, space) in spaces.iter().enumerate() {
                let network = &network;
                scope.spawn(move || network.attach(&format!("c{at}"), space.pid()).unwrap());
            }
        });
        let addresses: HashSet<Ipv4Addr> = network.list().into_iter().map(|(_, address)| address).collect();
        assert_eq!(addresses.len(), 12);
        for at in 0..12 {
            network.detach(&format!("c{at}")).unwrap();
        }
        assert!(network.settle(LONG));
        assert_eq!(interfaces(), ["slw-many"]);
    });
}

#[test]
fn listening_ports_are_those_of_the_container() {
    on_a_fresh_host(|lab| {
        let network = lab.network("ports", "10.201.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        // Ports below 1024 need no privilege inside.
        let _listeners = (container.listen("127.0.0.1:80"), container.listen("0.0.0.0:8080"));
        let expected = [
            (IpAddr::from([0, 0, 0, 0]), 8080),
            (IpAddr::from([127, 0, 0, 1]), 80),
        ];
        assert_eq!(listening_ports(container.pid()).unwrap(), expected);
        assert!(hosts(attached.address, "app").contains(&format!("{} app", attached.address)));
        let start = container
            .run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap());
        assert_eq!(start.trim(), "0");
    });
}
