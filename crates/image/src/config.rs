//! The image configuration: how to run it, for which platform, and the digests of its tars.
//!
//! Rule: OCI image-spec, config.md. Every field may be missing or null. A NUL in a word the kernel will be given
//! could not be executed and is refused here.

use std::collections::BTreeMap;
use std::fmt;

use model::{Digest, ImageConfig, Platform, Port, Protocol};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::capped::{List, Map};
use crate::error::one_line;

/// More layers than any overlay can stack.
const MAX_LAYERS: usize = 512;
/// Of a command, an environment and labels: more than any honest image has.
const MAX_WORDS: usize = 4096;

/// A configuration, read and checked.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Empty words where the image says nothing.
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) run: ImageConfig,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    created: Option<String>,
    config: Option<Run>,
    rootfs: Option<Rootfs>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Option<List<String, MAX_LAYERS>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    #[serde(default)]
    entrypoint: Option<Words>,
    #[serde(default)]
    cmd: Option<Words>,
    env: Option<List<String, MAX_WORDS>>,
    working_dir: Option<String>,
    user: Option<String>,
    exposed_ports: Option<Ports>,
    labels: Option<Map<Option<String>, MAX_WORDS>>,
    stop_signal: Option<String>,
}

/// Early images wrote a command of one word as a string.
struct Words(List<String, MAX_WORDS>, Option<String>);

impl Words {
    fn all(self) -> Result<Vec<String>, String> {
        match self.1 {
            Some(word) if word.is_empty() => Ok(Vec::new()),
            Some(word) => Ok(vec![word]),
            None => self.0.all("words in its command"),
        }
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command")
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words(List::default(), Some(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, input: A) -> Result<Words, A::Error> {
                List::deserialize(SeqAccessDeserializer::new(input)).map(|words| Words(words, None))
            }
        }
        input.deserialize_any(OneOrMany)
    }
}

/// Names of ports, read as they come: an image may expose every port there is.
struct Ports(Vec<Port>);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ports")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Ports, A::Error> {
                let mut ports = Vec::new();
                while let Some((name, IgnoredAny)) = input.next_entry::<String, _>()? {
                    ports.extend(port(&name).map_err(serde::de::Error::custom)?);
                }
                ports.sort_unstable();
                ports.dedup();
                Ok(Ports(ports))
            }
        }
        input.deserialize_map(Names)
    }
}

/// Reads a configuration; the error says what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Configuration, String> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| format!("its configuration cannot be read ({error})"))?;
    let run = document.config.unwrap_or_default();
    let diff_ids = document
        .rootfs
        .and_then(|rootfs| rootfs.diff_ids)
        .unwrap_or_default()
        .all("diff ids in its configuration")?;
    let diff_ids = diff_ids.iter().map(|id| {
        id.parse()
            .map_err(|e: model::DigestError| one_line(&e.to_string()))
    });
    let labels = run.labels.unwrap_or_default().all("labels")?;
    let words = |words: Option<Words>| words.map_or_else(|| Ok(Vec::new()), Words::all);
    let config = ImageConfig {
        entrypoint: words(run.entrypoint)?,
        cmd: words(run.cmd)?,
        env: run.env.unwrap_or_default().all("environment variables")?,
        workdir: run.working_dir.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
        ports: run.exposed_ports.map(|ports| ports.0).unwrap_or_default(),
        stop_signal: run.stop_signal.unwrap_or_default(),
    };
    refuse_nul(&config)?;
    Ok(Configuration {
        platform: Platform {
            os: one_line(&document.os),
            architecture: one_line(&document.architecture),
            variant: one_line(document.variant.as_deref().unwrap_or_default()),
        },
        diff_ids: diff_ids.collect::<Result<_, String>>()?,
        run: config,
        labels: labels
            .into_iter()
            .map(|(name, text)| (name, text.unwrap_or_default()))
            .collect(),
        created: document.created.map(|text| one_line(&text)),
    })
}

/// `NUMBER[/PROTOCOL]`, tcp unless said otherwise. Transports that no route can lead to are left out.
fn port(text: &str) -> Result<Option<Port>, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => return Ok(None),
        _ => return Err(format!("it exposes {:?}, which is not a port", one_line(text))),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse::<u16>() {
        Ok(number) if number > 0 && digits => Ok(Some(Port { number, protocol })),
        _ => Err(format!(
            "it exposes {:?}, which is not a port between 1 and 65535",
            one_line(text)
        )),
    }
}

fn refuse_nul(config: &ImageConfig) -> Result<(), String> {
    let words = config.entrypoint.iter().chain(&config.cmd).chain(&config.env);
    let mut all = words.chain([&config.workdir, &config.user, &config.stop_signal]);
    if all.any(|word| word.contains('\0')) {
        return Err("its command, environment, directory or user holds a NUL character".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: serde_json::Value) -> Result<Configuration, String> {
        parse(value.to_string().as_bytes())
    }

    #[test]
    fn everything_is_recorded() {
        let id = format!("sha256:{}", "ab".repeat(32));
        let got = parsed(json!({
            "os": "linux", "architecture": "arm64", "variant": "v8", "created": "2024-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": [id]},
            "config": {
                "Entrypoint": ["/a", "b'$1"], "Cmd": "one", "Env": ["A=1", "PATH=/x"], "WorkingDir": "/w",
                "User": "1000:1000", "StopSignal": "SIGQUIT", "Labels": {"k": "v", "n": null},
                "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "53": {}, "443/TCP": {}, "9/sctp": {}}
            }
        }))
        .unwrap();
        assert_eq!(got.platform.to_string(), "linux/arm64/v8");
        assert_eq!(got.diff_ids.len(), 1);
        assert_eq!(got.run.argv(), ["/a", "b'$1", "one"]);
        assert_eq!(got.run.env, ["A=1", "PATH=/x"]);
        assert_eq!(
            (got.run.workdir.as_str(), got.run.user.as_str()),
            ("/w", "1000:1000")
        );
        assert_eq!(got.run.stop_signal, "SIGQUIT");
        assert_eq!(got.run.tcp_ports(), [53, 443, 8080]);
        assert_eq!(
            got.run.ports[1],
            Port {
                number: 53,
                protocol: Protocol::Udp
            }
        );
        assert_eq!(got.labels.get("k").map(String::as_str), Some("v"));
    }

    #[test]
    fn missing_and_null_mean_nothing() {
        for value in [
            json!({}),
            json!({"config": null, "rootfs": null}),
            json!({"config": {"Entrypoint": null, "Cmd": null, "Env": null, "ExposedPorts": null, "Labels": null,
                "User": null, "WorkingDir": null}, "rootfs": {"diff_ids": null}}),
            json!({"config": {"Cmd": ""}}),
        ] {
            let got = parsed(value).unwrap();
            assert_eq!((got.run, got.diff_ids), (ImageConfig::default(), vec![]));
        }
    }

    #[test]
    fn what_could_not_run_is_refused() {
        for (value, word) in [
            (json!([]), "cannot be read"),
            (json!({"config": {"Cmd": [1]}}), "cannot be read"),
            (json!({"config": {"ExposedPorts": {"0/tcp": {}}}}), "0/tcp"),
            (json!({"config": {"ExposedPorts": {"65536": {}}}}), "65536"),
            (json!({"config": {"ExposedPorts": {"+80": {}}}}), "+80"),
            (
                json!({"config": {"ExposedPorts": {"80-90/tcp": {}}}}),
                "80-90/tcp",
            ),
            (json!({"config": {"ExposedPorts": {"80/x": {}}}}), "80/x"),
            (json!({"config": {"Env": ["A=\u{0}"]}}), "NUL"),
            (json!({"rootfs": {"diff_ids": ["sha512:1"]}}), "digest"),
        ] {
            let error = parsed(value).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
