//! What a container must not reach, and what it must not be able to pretend.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::lab::{connect, ip, on_a_fresh_host, receive};

#[test]
fn the_host_reaches_containers_and_containers_not_the_host() {
    on_a_fresh_host(|lab| {
        ip("addr add 198.51.100.7/32 dev lo");
        let network = lab.network("walls", "10.201.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        assert_eq!(
            (attached.gateway, attached.prefix_len),
            (Ipv4Addr::new(10, 201, 0, 1), 32)
        );

        let _app = container.listen("0.0.0.0:80");
        connect((attached.address, 80)).unwrap();
        container.connect((attached.address, 80)).unwrap();
        container.connect((Ipv4Addr::LOCALHOST, 80)).unwrap();

        for port in [8080, 53] {
            let _listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
            for address in [attached.gateway, Ipv4Addr::new(198, 51, 100, 7)] {
                connect((address, port)).unwrap();
                let refused = container.connect((address, port)).unwrap_err();
                assert_eq!(
                    refused.kind(),
                    std::io::ErrorKind::ConnectionRefused,
                    "{address}:{port}"
                );
            }
        }
    });
}

#[test]
fn datagrams_to_the_host_are_refused_and_answers_pass() {
    on_a_fresh_host(|lab| {
        let network = lab.network("datagram", "10.201.0.0/16");
        let (container, attached) = lab.container(&network, "a");
        let host = UdpSocket::bind("0.0.0.0:5353").unwrap();
        let app = container.udp("0.0.0.0:7000");

        let _ = app.send_to(b"unasked", (attached.gateway, 5353));
        host.send_to(b"question", (attached.address, 7000)).unwrap();
        assert_eq!(receive(&app), Some(("question".to_owned(), attached.gateway)));
        app.send_to(b"answer", (attached.gateway, 5353)).unwrap();
        assert_eq!(receive(&host), Some(("answer".to_owned(), attached.address)));
    });
}

#[test]
fn containers_do_not_reach_each_other() {
    on_a_fresh_host(|lab| {
        let network = lab.network("peers", "10.201.0.0/16");
        let (a, at_a) = lab.container(&network, "a");
        let (b, at_b) = lab.container(&network, "b");
        assert_ne!(at_a.address, at_b.address);
        for port in [80, 53] {
            let _app = b.listen(&format!("0.0.0.0:{port}"));
            connect((at_b.address, port)).unwrap();
            a.connect((at_b.address, port)).unwrap_err();
        }
    });
}

#[test]
fn neighbours_on_the_bridge_are_walled_off_without_the_firewall() {
    on_a_fresh_host(|lab| {
        // Where frames do not pass the IP firewall, only the ports themselves stand between containers.
        for parameter in ["bridge-nf-call-iptables", "bridge-nf-call-arptables"] {
            let _ = std::fs::write(format!("/proc/sys/net/bridge/{parameter}"), "0");
        }
        let network = lab.network("layer2", "10.201.0.0/16");
        let (a, at_a) = lab.container(&network, "a");
        let (b, at_b) = lab.container(&network, "b");
        let _app = b.listen("0.0.0.0:80");
        for (space, peer) in [(&a, at_b.address), (&b, at_a.address)] {
            let [w, x, y, z] = peer.octets();
            space.run(|| {
                ip(&format!("route add {peer}/32 dev eth0"));
                ip(&format!(
                    "neigh replace {peer} lladdr 02:53:{w:02x}:{x:02x}:{y:02x}:{z:02x} dev eth0"
                ));
            });
        }
        connect((at_b.address, 80)).unwrap();
        a.connect((at_b.address, 80)).unwrap_err();
    });
}

#[test]
fn two_platforms_on_a_host_do_not_see_each_other() {
    on_a_fresh_host(|lab| {
        let one = lab.network("one", "10.201.0.0/16");
        let two = lab.network("two", "10.202.0.0/16");
        let (in_one, at_one) = lab.container(&one, "same-id");
        let (in_two, at_two) = lab.container(&two, "same-id");
        let _app = (in_one.listen("0.0.0.0:53"), in_two.listen("0.0.0.0:53"));
        in_one.connect((at_two.address, 53)).unwrap_err();
        in_two.connect((at_one.address, 53)).unwrap_err();
        in_one.connect((at_two.gateway, 53)).unwrap_err();
        connect((at_one.address, 53)).unwrap();
        connect((at_two.address, 53)).unwrap();

        one.destroy().unwrap();
        connect((at_one.address, 53)).unwrap_err();
        connect((at_two.address, 53)).unwrap();
        let _host = TcpListener::bind((at_two.gateway, 8080)).unwrap();
        in_two.connect((at_two.gateway, 8080)).unwrap_err();
    });
}

#[test]
fn a_container_cannot_borrow_an_address() {
    on_a_fresh_host(|lab| {
        let outside = lab.outside();
        let network = lab.network("spoof", "10.201.0.0/16");
        let (container, own) = lab.container(&network, "a");
        let (_victim, victim) = lab.container(&network, "b");
        let target = SocketAddr::from(([203, 0, 113, 2], 9000));
        let listener = outside.udp("0.0.0.0:9000");
        for borrowed in [
            victim.address,
            Ipv4Addr::new(10, 201, 9, 9),
            Ipv4Addr::new(8, 8, 8, 8),
        ] {
            container.run(|| ip(&format!("addr add {borrowed}/32 dev eth0")));
            container
                .udp(&format!("{borrowed}:0"))
                .send_to(b"forged", target)
                .unwrap();
        }
        container
            .udp(&format!("{}:0", own.address))
            .send_to(b"honest", target)
            .unwrap();
        assert_eq!(
            receive(&listener),
            Some(("honest".to_owned(), Ipv4Addr::new(203, 0, 113, 1)))
        );
    });
}

#[test]
fn a_forged_hardware_address_draws_no_traffic() {
    on_a_fresh_host(|lab| {
        let network = lab.network("mac", "10.201.0.0/16");
        let (thief, own) = lab.container(&network, "thief");
        let (victim, at) = lab.container(&network, "victim");
        let _app = victim.listen("0.0.0.0:80");
        let [_, _, c, d] = at.address.octets();
        thief.run(|| {
            ip(&format!("link set eth0 address 02:53:0a:c9:{c:02x}:{d:02x}"));
            ip(&format!("neigh flush to {}", own.gateway));
        });
        let _ = thief.connect((own.gateway, 80));
        connect((at.address, 80)).unwrap();
    });
}

#[test]
fn containers_have_no_ipv6() {
    on_a_fresh_host(|lab| {
        let network = lab.network("six", "10.201.0.0/16");
        let (container, _) = lab.container(&network, "a");
        assert_eq!(container.run(|| ip("-6 addr show dev eth0")), "");
        assert_eq!(ip("-6 addr show dev slw-six"), "");
        container.run(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").unwrap();
            ip("-6 addr add fd00::2/64 dev eth0 nodad");
        });
        ip("-6 addr add fd00::1/64 dev slw-six nodad");
        let _host = TcpListener::bind("[::]:8080").unwrap();
        connect(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 8080))).unwrap();
        container
            .connect("[fd00::1]:8080".parse::<SocketAddr>().unwrap())
            .unwrap_err();
    });
}
