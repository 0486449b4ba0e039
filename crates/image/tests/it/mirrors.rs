//! Mirrors: asked first, anonymously, and never believed without a digest.

use std::sync::Arc;

use image::{Client, ErrorKind};
use model::{Fallback, Mirror};
use testkit::made_up::noise;

use crate::scripted::{Answer, Asked, Ending, Server};
use crate::{OneLayer, client_with, credentials, digest, platform, read_all, reference};

/// A registry, its mirror that answers as told, and a client that knows both.
struct Pair {
    registry: Server,
    mirror: Server,
    client: Client,
    whole: Arc<OneLayer>,
}

impl Pair {
    async fn new(
        fallback: Fallback,
        answer: impl Fn(&Asked, &OneLayer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let whole = Arc::new(OneLayer::new(noise(30, 300_000)));
        let served = whole.clone();
        let registry = Server::start(move |asked| served.answer(asked)).await;
        let served = whole.clone();
        let mirror = Server::start(move |asked| answer(asked, &served)).await;
        let client = client_with(&[&registry.host, &mirror.host], |document| {
            document.mirrors = vec![Mirror {
                registry: registry.host.clone(),
                mirror: mirror.host.clone(),
                fallback,
            }];
        });
        Self {
            registry,
            mirror,
            client,
            whole,
        }
    }

    fn image(&self) -> image::Reference {
        reference(&format!("{}/app", self.registry.host))
    }

    async fn resolve(&self) -> Result<image::Resolved, image::ResolveError> {
        self.client.resolve(&self.image(), None, &platform("amd64")).await
    }

    async fn layer(&self) -> std::io::Result<Vec<u8>> {
        let layer = &self.whole.layer;
        let reader = self
            .client
            .blob(&self.image(), None, &digest(layer), layer.len() as u64)
            .await
            .map_err(std::io::Error::other)?;
        read_all(reader).await
    }

    /// Requests to the mirror and to the registry.
    fn counts(&self) -> (usize, usize) {
        (self.mirror.asked().len(), self.registry.asked().len())
    }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_never_with_credentials() {
    let pair = Pair::new(Fallback::Registry, |asked, whole| whole.answer(asked)).await;
    pair.resolve().await.unwrap();
    assert_eq!(pair.layer().await.unwrap(), pair.whole.layer);
    assert_eq!(pair.counts(), (3, 0));
    let user = credentials("u", "p");
    pair.client
        .resolve(&pair.image(), Some(&user), &platform("amd64"))
        .await
        .unwrap();
    assert_eq!(pair.counts(), (3, 2));
}

#[tokio::test]
async fn what_a_mirror_has_not_got_comes_from_the_registry() {
    let pair = Pair::new(Fallback::Registry, |_, _| Answer::new(404, "")).await;
    pair.resolve().await.unwrap();
    assert_eq!(pair.layer().await.unwrap(), pair.whole.layer);
    assert_eq!(pair.counts(), (3, 3));
}

#[tokio::test]
async fn a_mirror_that_fails_is_passed_over_for_a_while() {
    for status in [401, 403, 429, 500, 503] {
        let pair = Pair::new(Fallback::Registry, move |_, _| Answer::new(status, "")).await;
        pair.resolve().await.unwrap();
        assert_eq!(pair.layer().await.unwrap(), pair.whole.layer);
        assert_eq!(pair.counts(), (1, 3), "{status}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_gone_is_passed_over() {
    let pair = Pair::new(Fallback::Registry, |_, _| Answer::new(200, "")).await;
    let Pair {
        registry,
        mirror,
        client,
        ..
    } = pair;
    drop(mirror);
    let image = reference(&format!("{}/app", registry.host));
    client.resolve(&image, None, &platform("amd64")).await.unwrap();
}

#[tokio::test]
async fn a_lying_mirror_is_found_out() {
    // The manifest by tag cannot be checked; what it names can.
    let pair = Pair::new(Fallback::Registry, |asked, whole| {
        match asked.path.contains("/blobs/") {
            true => Answer::new(200, vec![b'x'; whole.config.len()]),
            false => whole.answer(asked),
        }
    })
    .await;
    pair.resolve().await.unwrap();
    assert_eq!(pair.counts(), (2, 1));

    let pair = Pair::new(Fallback::Registry, |_, whole| {
        Answer::new(200, vec![b'x'; whole.layer.len()])
    })
    .await;
    let error = pair.layer().await.unwrap_err();
    let cause: &image::ResolveError = error.get_ref().unwrap().downcast_ref().unwrap();
    assert!(
        cause.is_transient() && cause.to_string().contains(&pair.mirror.host),
        "{cause}"
    );
    // Now it is known, and the next try goes to the registry.
    assert_eq!(pair.layer().await.unwrap(), pair.whole.layer);
    assert_eq!(pair.counts(), (1, 1));

    let pair = Pair::new(Fallback::Registry, |_, whole| {
        Answer::new(200, vec![b'x'; whole.layer.len() + 1])
    })
    .await;
    assert_eq!(pair.layer().await.unwrap(), pair.whole.layer);
}

#[tokio::test]
async fn a_blob_that_a_mirror_drops_goes_on_from_the_registry() {
    let pair = Pair::new(Fallback::Registry, |asked, whole| {
        whole.answer(asked).ending(Ending::Cut(100_000))
    })
    .await;
    assert_eq!(pair.layer().await.unwrap(), pair.whole.layer);
    let from: Vec<usize> = pair.registry.asked().iter().map(Asked::range_from).collect();
    assert_eq!((from, pair.mirror.asked().len()), (vec![100_000], 1));
}

#[tokio::test]
async fn never_means_never() {
    let pair = Pair::new(Fallback::Never, |_, _| Answer::new(404, "")).await;
    let error = pair.resolve().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(
        text.contains(&pair.mirror.host) && text.contains(&pair.image().canonical()),
        "{text}"
    );
    let pair = Pair::new(Fallback::Never, |_, _| Answer::new(500, "")).await;
    let error = pair.resolve().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failing, "{error}");
    assert_eq!(pair.counts(), (5, 0));
}
