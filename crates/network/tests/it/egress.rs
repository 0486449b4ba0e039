//! The way out: what is reached, as whom, and who may come in.

use std::net::Ipv4Addr;

use network::Egress;

use crate::lab::{ip, on_a_fresh_host, receive};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const CARRIER: Ipv4Addr = Ipv4Addr::new(100, 64, 1, 1);

#[test]
fn the_internet_is_reached_in_the_hosts_name() {
    on_a_fresh_host(|lab| {
        let outside = lab.outside();
        let network = lab.network("out", "10.201.0.0/16");
        let (container, _) = lab.container(&network, "a");
        let server = outside.listen("0.0.0.0:80");
        let _connection = container.connect((PUBLIC, 80)).unwrap();
        let (_, from) = server.accept().unwrap();
        assert_eq!(from.ip(), HOST);
    });
}

#[test]
fn private_ranges_and_metadata_are_refused_but_name_servers_answer() {
    on_a_fresh_host(|lab| {
        let outside = lab.outside();
        let network = lab.network("private", "10.201.0.0/16");
        let (container, _) = lab.container(&network, "a");
        let _servers = (outside.listen("0.0.0.0:80"), outside.listen("0.0.0.0:53"));
        let name_server = outside.udp("0.0.0.0:53");
        for address in [PRIVATE, METADATA, CARRIER] {
            let refused = container.connect((address, 80)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
            container.connect((address, 53)).unwrap();
            container
                .udp("0.0.0.0:0")
                .send_to(b"query", (address, 53))
                .unwrap();
            assert_eq!(receive(&name_server), Some(("query".to_owned(), HOST)));
        }
    });
}

#[test]
fn the_operator_opens_and_closes_networks() {
    on_a_fresh_host(|lab| {
        let outside = lab.outside();
        let network = lab.network("operator", "10.201.0.0/16");
        let (container, _) = lab.container(&network, "a");
        let _servers = (outside.listen("0.0.0.0:80"), outside.listen("0.0.0.0:53"));
        let networks = |text: &str| vec![text.parse().unwrap()];

        network
            .set_egress(Egress {
                allowed: networks("192.168.0.0/16"),
                ..Egress::default()
            })
            .unwrap();
        container.connect((PRIVATE, 80)).unwrap();
        container.connect((METADATA, 80)).unwrap_err();

        let protected = networks("203.0.113.0/24");
        network
            .set_egress(Egress {
                protected,
                allowed: networks("203.0.113.2/32"),
            })
            .unwrap();
        container.connect((PRIVATE, 80)).unwrap_err();
        container.connect((PUBLIC, 80)).unwrap_err();
        container.connect((PUBLIC, 53)).unwrap_err();
        container.connect((Ipv4Addr::new(198, 51, 100, 9), 80)).unwrap();

        // A reopened network keeps the exceptions.
        drop(network);
        let _network = lab.network("operator", "10.201.0.0/16");
        container.connect((PUBLIC, 80)).unwrap_err();
    });
}

#[test]
fn nobody_outside_starts_a_conversation() {
    on_a_fresh_host(|lab| {
        let outside = lab.outside();
        let network = lab.network("inbound", "10.201.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        let app = container.udp("0.0.0.0:7000");
        let _app = container.listen("0.0.0.0:80");
        outside.run(|| ip("route add 10.201.0.0/16 via 203.0.113.1"));
        outside.connect((attached.address, 80)).unwrap_err();
        outside
            .udp("0.0.0.0:0")
            .send_to(b"unasked", (attached.address, 7000))
            .unwrap();
        assert_eq!(receive(&app), None);
    });
}

#[test]
fn packets_fit_the_way_out() {
    on_a_fresh_host(|lab| {
        let _outside = lab.outside();
        ip("link set wan mtu 1380");
        let network = lab.network("mtu", "10.201.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        assert_eq!(attached.mtu, 1380);
        assert!(container.run(|| ip("link show dev eth0")).contains("mtu 1380"));
    });
}

#[test]
fn only_the_interfaces_in_use_forward() {
    on_a_fresh_host(|lab| {
        let _outside = lab.outside();
        ip("link add other type bridge");
        let _network = lab.network("forward", "10.201.0.0/16");
        let forwards = |interface: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
            std::fs::read_to_string(path).unwrap().trim() == "1"
        };
        assert!(forwards("wan") && forwards("slw-forward"));
        assert!(!forwards("other") && !forwards("all"));
    });
}

#[test]
fn a_way_out_that_comes_later_is_found_by_sweep() {
    on_a_fresh_host(|lab| {
        let network = lab.network("later", "10.201.0.0/16");
        let (container, _) = lab.container(&network, "a");
        let outside = lab.outside();
        let _server = outside.listen("0.0.0.0:80");
        network
            .sweep(&std::collections::HashSet::from(["a".to_owned()]))
            .unwrap();
        container.connect((PUBLIC, 80)).unwrap();
    });
}
