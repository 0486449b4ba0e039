//! Pushes to any registry by the distribution protocol, independent of the client under test: single blobs and
//! manifests for tests that build odd images, whole images for the rest.

use anyhow::{Context, ensure};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};

use crate::image::digest;

/// The media types of an image's parts.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Of a list of manifests.
    pub index: &'static str,
    /// Of a manifest.
    pub manifest: &'static str,
    /// Of a configuration.
    pub config: &'static str,
    /// Of a gzipped layer.
    pub layer: &'static str,
}

/// As the OCI image specification has it.
pub const OCI: Format = Format {
    index: "application/vnd.oci.image.index.v1+json",
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};

/// As Docker's image manifest version 2, schema 2 has it.
pub const DOCKER: Format = Format {
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

/// Where to push, as whom, and in which format.
pub struct Pusher {
    http: Client,
    base: String,
    login: Option<(String, String)>,
    format: Format,
}

/// A manifest in a registry.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: usize,
}

impl Pusher {
    /// For a registry at `http://HOST:PORT` or `https://…`, whose certificate is not checked, with the user name and
    /// password it wants, if any.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: &str, login: Option<(&str, &str)>) -> anyhow::Result<Self> {
        crate::tls();
        Ok(Self {
            http: Client::builder()
                .tls_danger_accept_invalid_certs(true)
                .no_proxy()
                .build()?,
            base: base.to_owned(),
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
            format: OCI,
        })
    }

    /// Pushes images in this format from now on, instead of OCI's.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Uploads a blob in one piece and gives its digest.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn blob(&self, repository: &str, bytes: &[u8]) -> anyhow::Result<String> {
        let start = Url::parse(&format!("{}/v2/{repository}/blobs/uploads/", self.base))?;
        let begun = self.request(Method::POST, start.clone()).send().await?;
        let begun = expect(StatusCode::ACCEPTED, "upload", begun).await?;
        let location = begun.headers().get(LOCATION).context("no upload location")?;
        let digest = digest(bytes);
        let mut target = start.join(location.to_str()?)?;
        target.query_pairs_mut().append_pair("digest", &digest);
        let put = self
            .request(Method::PUT, target)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(bytes.to_vec());
        expect(StatusCode::CREATED, "blob", put.send().await?).await?;
        Ok(digest)
    }

    /// Puts a manifest or an index under a tag, or under its digest alone.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        document: &Value,
    ) -> anyhow::Result<Pushed> {
        let bytes = serde_json::to_vec(document)?;
        let (digest, size) = (digest(&bytes), bytes.len());
        let name = tag.unwrap_or(&digest);
        let url = Url::parse(&format!("{}/v2/{repository}/manifests/{name}", self.base))?;
        let put = self
            .request(Method::PUT, url)
            .header(CONTENT_TYPE, media_type)
            .body(bytes);
        expect(StatusCode::CREATED, "manifest", put.send().await?).await?;
        Ok(Pushed { digest, size })
    }

    /// Pushes gzipped layers, configuration and manifest of an image.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn image(
        &self,
        repository: &str,
        tag: Option<&str>,
        config: &Value,
        layers: &[Vec<u8>],
    ) -> anyhow::Result<Pushed> {
        let Format {
            manifest: media_type,
            config: config_type,
            layer: layer_type,
            ..
        } = self.format;
        let mut descriptors = Vec::new();
        for layer in layers {
            let digest = self.blob(repository, layer).await?;
            descriptors.push(json!({"mediaType": layer_type, "digest": digest, "size": layer.len()}));
        }
        let config = serde_json::to_vec(config)?;
        let digest = self.blob(repository, &config).await?;
        let document = json!({"schemaVersion": 2, "mediaType": media_type, "layers": descriptors,
            "config": {"mediaType": config_type, "digest": digest, "size": config.len()}});
        self.manifest(repository, tag, media_type, &document).await
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

async fn expect(wanted: StatusCode, what: &str, answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    ensure!(
        status == wanted,
        "{what} refused: {status} {}",
        answer.text().await?
    );
    Ok(answer)
}
