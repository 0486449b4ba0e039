//! The registry settings the cell was last told: obeyed at once, and kept, so that a cell that starts anew obeys them
//! before anybody speaks to it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use base::{Report, chain};
use model::RegistrySettings;
use tracing::{info, warn};
use wire::Status;
use wire::v1::ConfigureRequest;

use crate::host::Host;

/// Obeys what is kept. What cannot be read or used any more is passed over: the scheduler speaks soon.
pub(crate) fn restore(client: &image::Client, path: &Path) {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return warn!(error = chain(&error), "the kept registry settings cannot be read"),
    };
    let obeyed = serde_json::from_slice(&text)
        .map_err(|error| error.to_string())
        .and_then(|settings| client.apply(settings).map_err(|error| error.to_string()));
    if let Err(error) = obeyed {
        warn!(error, "the kept registry settings cannot be used");
    }
}

/// Obeys new settings and keeps them. Instances that run are not touched.
///
/// # Errors
/// `InvalidArgument` when they cannot be used; nothing has changed then.
pub(crate) async fn configure(host: &Arc<Host>, request: ConfigureRequest) -> Result<(), Status> {
    let text = request.registry_settings;
    let settings: RegistrySettings =
        serde_json::from_str(&text).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let apply = move |host: &Host| -> Result<bool, Status> {
        let client = host.fetcher.client();
        let changed = client.registry_settings() != settings;
        client
            .apply(settings)
            .map_err(|error| Status::invalid_argument(Report(&error).to_string()))?;
        let path = &host.places.registry;
        if changed || !path.exists() {
            write(path, text.as_bytes())
                .map_err(|error| Status::internal(format!("cannot write {}: {error}", path.display())))?;
        }
        Ok(changed)
    };
    if host.blocking(apply).await? {
        info!(version = request.version, "obeying new registry settings");
    }
    Ok(())
}

/// Replaces the file by rename, so that it is always whole.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = fs::File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_obeyed_and_what_is_torn_is_not() {
        testkit::tls();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.json");
        let client = image::Client::new(image::Settings::default()).unwrap();
        restore(&client, &path);
        write(&path, br#"{"deny": ["evil.example.org"]}"#).unwrap();
        restore(&client, &path);
        assert_eq!(client.registry_settings().deny, ["evil.example.org"]);
        for torn in [&b"{\"deny\": [\"x\""[..], br#"{"insecure": ["https://x"]}"#] {
            write(&path, torn).unwrap();
            restore(&client, &path);
            assert_eq!(client.registry_settings().deny, ["evil.example.org"]);
        }
    }
}
