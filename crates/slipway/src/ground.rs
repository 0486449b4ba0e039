//! What every role stands on: clock, keys, database, names; and the settings of roles that follow from them.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::State;
use auth::{Minter, RegistryAccess, Verifier};
use base::{Clock, SystemClock};
use store::{Options, Store};
use wire::LogSink;
use wire::v1::cell_client::CellClient;

use crate::address::Names;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::images::ImageKnowledge;
use crate::keys::{Keys, admin_password};

/// The one cell of one machine.
pub const CELL_ID: &str = "cell-1";

/// What every role stands on.
pub struct Ground {
    pub clock: Arc<dyn Clock>,
    pub names: Names,
    pub keys: Keys,
    pub store: Store,
    pub minter: Arc<Minter>,
    pub password_file: Option<String>,
    pub run: PathBuf,
}

impl Ground {
    /// Opens keys and database, and makes the rows that every installation has.
    pub async fn lay(config: &Config, data: &DataDir, names: Names) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = Keys::open(data)?;
        let database = data.join("db.sqlite");
        // Made here, so that it is private from its first byte.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&database)?;
        let store = Store::open(Options::Sqlite(database), clock.clone()).await?;
        api::seed(&store, &names.settings).await?;
        let (password, password_file) = match &config.admin_password {
            Some(password) => (password.clone(), None),
            None => admin_password(data).map(|(text, file)| (text, Some(file.display().to_string())))?,
        };
        uaa::seed(&store, password).await?;
        let issuer = format!("{}/oauth/token", names.settings.uaa_url);
        let minter = Arc::new(Minter::new(keys.signing.clone(), issuer));
        Ok(Self {
            clock,
            names,
            keys,
            store,
            minter,
            password_file,
            run: data.join("run"),
        })
    }

    /// Checks the tokens the minter makes.
    pub fn verifier(&self) -> anyhow::Result<Verifier> {
        Ok(Verifier::new([self.keys.signing.jwk()], self.minter.issuer())?)
    }

    /// What the scheduler is told.
    pub fn scheduler(
        &self,
        image: image::Settings,
        cell: &wire::Channel,
        logs: &LogSink,
    ) -> anyhow::Result<scheduler::Settings> {
        Ok(scheduler::Settings {
            store: self.store.clone(),
            sealer: self.keys.sealer.clone(),
            registry: image.registry.clone(),
            image: image::Client::new(image)?,
            platform: model::Platform::host(),
            cells: vec![(CELL_ID.into(), cell.clone())],
            logs: logs.clone(),
            own_registry: Some(own_registry(&self.names.registry, &self.minter, &self.clock)),
            timing: scheduler::Timing::default(),
        })
    }

    /// What the API works with.
    pub fn api(&self, image: image::Settings, cell: &wire::Channel, logs: &LogSink) -> anyhow::Result<State> {
        Ok(State::new(api::Parts {
            store: self.store.clone(),
            verifier: self.verifier()?,
            sealer: self.keys.sealer.clone(),
            logs: logs.clone(),
            cell: CellClient::new(cell.clone()),
            images: Arc::new(ImageKnowledge(image::Client::new(image)?)),
            settings: self.names.settings.clone(),
        }))
    }

    /// The identity server.
    pub fn uaa(&self) -> anyhow::Result<uaa::Uaa> {
        Ok(uaa::Uaa::new(uaa::Parts {
            store: self.store.clone(),
            minter: self.minter.clone(),
            verifier: Arc::new(self.verifier()?),
            former_keys: Vec::new(),
            settings: uaa::Settings {
                login_url: self.names.settings.login_url.clone(),
                uaa_url: self.names.settings.uaa_url.clone(),
            },
        }))
    }
}

/// How the platform itself reads images of its own registry: with a token that opens one space for a day.
fn own_registry(host: &str, minter: &Arc<Minter>, clock: &Arc<dyn Clock>) -> scheduler::OwnRegistry {
    let (minter, clock) = (minter.clone(), clock.clone());
    let credentials = move |space: &model::SpaceGuid| {
        let life = auth::Life {
            now: clock.now(),
            ttl: Duration::from_secs(24 * 3600),
        };
        let minted = minter.mint_registry(space, RegistryAccess::Pull, life);
        image::Credentials {
            username: "slipway".to_owned(),
            password: minted.token.into_exposed(),
        }
    };
    scheduler::OwnRegistry {
        host: host.to_owned(),
        credentials: Arc::new(credentials),
    }
}
