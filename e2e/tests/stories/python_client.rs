//! A client we did not write: the Python `cloudfoundry-client` reads and changes an app.

use std::path::PathBuf;

use testkit::platform::PASSWORD;
use tokio::process::Command;

use crate::world::{World, demand, host};

const SCRIPT: &str = r#"
import sys
from cloudfoundry_client.client import CloudFoundryClient
api, password = sys.argv[1:]
client = CloudFoundryClient(api)
client.init_with_user_credentials("admin", password)
orgs = [org["name"] for org in client.v3.organizations.list()]
assert "acme" in orgs, orgs
space = client.v3.spaces.get_first(names="dev")
app = client.v3.apps.get_first(names="snake", space_guids=space["guid"])
assert app["state"] == "STARTED", app
guid = app["guid"]
client.v3.apps.restart(guid)
assert client.v3.apps.get(guid)["state"] == "STARTED"
routes = [route["url"] for route in client.v3.apps.list_routes(guid)]
assert routes == ["snake.apps.localhost"], routes
assert client.v3.apps.get_env(guid)["application_env_json"]["VCAP_APPLICATION"]["name"] == "snake"
assert "docker" in client.v3.apps.get_manifest(guid)
assert [p["type"] for p in client.v3.apps.list_packages(guid)] == ["docker"]
assert [d["state"] for d in client.v3.apps.list_droplets(guid)] == ["STAGED"]
process = client.v3.processes.get_first(app_guids=guid)
assert process["type"] == "web", process
print("apps:", [a["name"] for a in client.v3.apps.list()])
print("flags:", len(list(client.v3.feature_flags.list())))
client.v3.apps.remove(guid)
"#;

#[tokio::test]
async fn python_drives_an_app() -> anyhow::Result<()> {
    let python = venv().join("bin/python");
    anyhow::ensure!(
        python.exists(),
        "{} is missing; run make test, which installs it",
        python.display()
    );
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "snake", "--docker-image", &image, "-m", "64M"])
        .await?;
    let output = Command::new(python)
        .args(["-c", SCRIPT, &world.platform.api, PASSWORD])
        .env("HOME", world.platform.scratch())
        .output()
        .await?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    anyhow::ensure!(output.status.success(), "{text}");
    demand(&text, "apps: ['snake']")?;
    world.until_status(&host("snake"), 404).await?;
    world.end()
}

/// Beside the build directory of the profile.
fn venv() -> PathBuf {
    testkit::target_dir().join("../test-venv")
}
