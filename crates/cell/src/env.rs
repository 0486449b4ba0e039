//! The environment of an app, in layers of which the later win: image, instance, process, network.
//!
//! Rules: cloudfoundry/executor:depot/transformer and depot/containerstore/storenode.go,
//! cloudfoundry/dockerapplifecycle:launcher (what it adds to `VCAP_APPLICATION`). The router goes straight to the
//! container, so the address others use is the container's own and a port has one number in and out.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use wire::v1::InstanceSpec;

use crate::trust::Trust;

const VCAP: &str = "VCAP_APPLICATION";

/// `NAME=value` for the program, each name once.
pub(crate) fn environment(spec: &InstanceSpec, address: Ipv4Addr, trust: &Trust) -> Vec<String> {
    let process = spec.process_env.iter().map(|entry| with_instance(entry, spec));
    let all = spec
        .image_env
        .iter()
        .cloned()
        .chain(instance(spec))
        .chain(trust.variable())
        .chain(process)
        .chain(network(&spec.ports, address));
    last_of_each(all.collect())
}

fn instance(spec: &InstanceSpec) -> [String; 4] {
    let (guid, index) = (&spec.instance_guid, spec.index);
    [
        format!("INSTANCE_GUID={guid}"),
        format!("INSTANCE_INDEX={index}"),
        format!("CF_INSTANCE_GUID={guid}"),
        format!("CF_INSTANCE_INDEX={index}"),
    ]
}

fn network(ports: &[u32], address: Ipv4Addr) -> [String; 5] {
    let first = ports.first();
    let port = first.map(u32::to_string).unwrap_or_default();
    let addr = first.map(|port| format!("{address}:{port}")).unwrap_or_default();
    let list: Vec<Value> = ports
        .iter()
        .map(|port| json!({"external": port, "internal": port}))
        .collect();
    [
        format!("CF_INSTANCE_IP={address}"),
        format!("CF_INSTANCE_INTERNAL_IP={address}"),
        format!("CF_INSTANCE_PORT={port}"),
        format!("CF_INSTANCE_ADDR={addr}"),
        format!("CF_INSTANCE_PORTS={}", Value::Array(list)),
    ]
}

/// Adds to `VCAP_APPLICATION` what only the cell knows; anything else, or what is no JSON object, stays as it is.
fn with_instance(entry: &str, spec: &InstanceSpec) -> String {
    let Some(value) = entry.strip_prefix(VCAP).and_then(|rest| rest.strip_prefix('=')) else {
        return entry.to_owned();
    };
    let Ok(Value::Object(mut fields)) = serde_json::from_str(value) else {
        return entry.to_owned();
    };
    fields.insert("instance_id".to_owned(), json!(spec.instance_guid));
    fields.insert("instance_index".to_owned(), json!(spec.index));
    fields.insert("host".to_owned(), json!("0.0.0.0"));
    if let Some(port) = spec.ports.first() {
        fields.insert("port".to_owned(), json!(port));
    }
    format!("{VCAP}={}", Value::Object(fields))
}

/// Keeps of each name its last entry, in the order of those.
fn last_of_each(entries: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = entries
        .into_iter()
        .rev()
        .filter(|entry| seen.insert(entry.split('=').next().unwrap_or_default().to_owned()))
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> InstanceSpec {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        InstanceSpec {
            instance_guid: "guid-1".to_owned(),
            index: 3,
            image_env: texts(&["A=image", "PATH=/app", "CF_INSTANCE_INDEX=image"]),
            process_env: texts(&[
                "PORT=8080",
                "A=user",
                "INSTANCE_GUID=shadowed",
                "CF_INSTANCE_IP=forged",
                r#"VCAP_APPLICATION={"name":"app","limits":{"mem":64}}"#,
            ]),
            ports: vec![8080, 9000],
            ..InstanceSpec::default()
        }
    }

    #[test]
    fn later_layers_win_and_the_network_cannot_be_shadowed() {
        let trust = Trust::In("/certificates".into());
        let got = environment(&spec(), Ipv4Addr::new(10, 0, 0, 9), &trust);
        let expected = [
            "PATH=/app",
            "INSTANCE_INDEX=3",
            "CF_INSTANCE_GUID=guid-1",
            "CF_INSTANCE_INDEX=3",
            "CF_SYSTEM_CERT_PATH=/etc/cf-system-certificates",
            "PORT=8080",
            "A=user",
            "INSTANCE_GUID=shadowed",
            r#"VCAP_APPLICATION={"host":"0.0.0.0","instance_id":"guid-1","instance_index":3,"limits":{"mem":64},"name":"app","port":8080}"#,
            "CF_INSTANCE_IP=10.0.0.9",
            "CF_INSTANCE_INTERNAL_IP=10.0.0.9",
            "CF_INSTANCE_PORT=8080",
            "CF_INSTANCE_ADDR=10.0.0.9:8080",
            r#"CF_INSTANCE_PORTS=[{"external":8080,"internal":8080},{"external":9000,"internal":9000}]"#,
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn without_ports_there_is_an_address_but_nothing_to_connect_to() {
        let got = environment(
            &InstanceSpec {
                ports: vec![],
                ..spec()
            },
            Ipv4Addr::LOCALHOST,
            &Trust::Nobody,
        );
        for entry in ["CF_INSTANCE_PORT=", "CF_INSTANCE_ADDR=", "CF_INSTANCE_PORTS=[]"] {
            assert!(got.iter().any(|e| e == entry), "{entry}");
        }
        assert!(!got.iter().any(|e| e.contains("\"port\"")));
    }

    #[test]
    fn a_broken_vcap_application_is_left_alone() {
        let process_env = vec![
            "VCAP_APPLICATION=[1]".to_owned(),
            "VCAP_APPLICATIONS=x".to_owned(),
        ];
        let got = environment(
            &InstanceSpec {
                process_env,
                ..spec()
            },
            Ipv4Addr::LOCALHOST,
            &Trust::Nobody,
        );
        assert!(
            got.iter().any(|e| e == "VCAP_APPLICATION=[1]") && got.iter().any(|e| e == "VCAP_APPLICATIONS=x")
        );
    }
}
