//! The proxy environment, which is read once per process: the test runs itself again with it set.

use std::process::Command;

use image::ErrorKind;

use crate::scripted::{Answer, Server};
use crate::{client, platform, reference};

/// Set in the second run: the registry that `NO_PROXY` names.
const DIRECT: &str = "IMAGE_TEST_DIRECT_REGISTRY";
const BEHIND: &str = "registry.invalid:5000";

#[tokio::test]
async fn the_proxy_environment_is_honoured() {
    if let Some(direct) = std::env::var_os(DIRECT) {
        let direct = direct.into_string().unwrap();
        for host in [BEHIND, &direct] {
            let image = reference(&format!("{host}/app"));
            let error = client(&[host])
                .resolve(&image, None, &platform("amd64"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{host}: {error}");
        }
        return;
    }
    let proxy = Server::start(|_| Answer::new(404, "")).await;
    let direct = Server::start(|_| Answer::new(404, "")).await;
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([
        "--exact",
        "proxy::the_proxy_environment_is_honoured",
        "--nocapture",
    ]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        again.env(name, format!("http://{}", proxy.host));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        again.env(name, "127.0.0.1");
    }
    again
        .env(DIRECT, &direct.host)
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy");
    let ended = tokio::task::spawn_blocking(move || again.output().unwrap())
        .await
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let paths: Vec<String> = proxy.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(
        paths,
        [
            BEHIND.to_owned(),
            format!("http://{BEHIND}/v2/app/manifests/latest")
        ]
    );
    assert_eq!(direct.asked().len(), 1);
}
