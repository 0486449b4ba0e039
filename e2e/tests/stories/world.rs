//! What most stories begin with.

use std::time::Duration;

use anyhow::Context;
use testkit::apps;
use testkit::cf::Cf;
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::image::{Destination, Image};
use testkit::platform::Platform;
use testkit::wait;

/// A platform that knows a registry, and that registry.
pub struct World {
    pub platform: Platform,
    pub registry: DockerRegistry,
}

impl World {
    /// A fresh world with an open registry.
    pub async fn new() -> anyhow::Result<Self> {
        Self::with(&Guard::Open, &[]).await
    }

    /// A world whose registry is guarded, and further arguments of `slipway up`.
    pub async fn with(guard: &Guard, extra: &[&str]) -> anyhow::Result<Self> {
        let registry = DockerRegistry::start(guard).await?;
        let host = registry.host();
        let mut args = vec!["--insecure-registry", host.as_str()];
        args.extend(extra);
        let platform = Platform::start(&args).await?;
        Ok(Self { platform, registry })
    }

    /// Every client there is: the built-in one and those on PATH.
    pub fn clients(&self) -> anyhow::Result<Vec<Cf>> {
        let mut all = vec![Cf::built_in(self.platform.scratch())?];
        all.extend(Cf::official(self.platform.scratch())?);
        Ok(all)
    }

    /// The built-in client, logged in, in org `acme`, space `dev`, with images allowed.
    pub async fn client(&self) -> anyhow::Result<Cf> {
        let cf = Cf::built_in(self.platform.scratch())?;
        cf.at_home(&self.platform.api, "acme", "dev").await?;
        cf.run(&["enable-feature-flag", "diego_docker"]).await?;
        Ok(cf)
    }

    /// Puts the probe app into the open registry and gives its reference.
    pub async fn probe_image(&self) -> anyhow::Result<String> {
        self.put("probe", &probe()?, None).await
    }

    /// Puts an image into the registry and gives its reference.
    pub async fn put(
        &self,
        name: &str,
        image: &Image,
        login: Option<(&str, &str)>,
    ) -> anyhow::Result<String> {
        let host = self.registry.host();
        image
            .push(&Destination {
                registry: &host,
                repository: name,
                tag: "1",
                login,
            })
            .await?;
        Ok(format!("{host}/{name}:1"))
    }

    /// GET through the router.
    pub async fn get(&self, host: &str, path: &str) -> anyhow::Result<(u16, String)> {
        testkit::tls();
        let answer = reqwest::Client::new()
            .get(format!("http://{}{path}", self.platform.router))
            .header("host", host)
            .timeout(Duration::from_secs(10))
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until the router answers with this status.
    pub async fn until_status(&self, host: &str, status: u16) -> anyhow::Result<()> {
        let what = format!("{host} to answer {status}");
        wait::until(&what, Duration::from_secs(60), || async {
            self.get(host, "/")
                .await
                .ok()
                .filter(|(s, _)| *s == status)
                .map(|_| ())
        })
        .await
    }

    /// Ends the world and demands that nothing is left.
    pub fn end(self) -> anyhow::Result<()> {
        self.platform.down()
    }
}

/// The probe app.
pub fn probe() -> anyhow::Result<Image> {
    Image::of_program(&apps::binary(apps::PROBE)?, 8080)
}

/// The default host of an app.
pub fn host(app: &str) -> String {
    format!("{app}.apps.localhost")
}

/// Fails with the whole text when a part is missing.
pub fn demand(text: &str, part: &str) -> anyhow::Result<()> {
    text.contains(part)
        .then_some(())
        .with_context(|| format!("no {part:?} in:\n{text}"))
}
