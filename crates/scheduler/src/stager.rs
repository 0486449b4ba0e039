//! Which builds are staged: those in state STAGING, oldest first, a few at a time.
//!
//! Takes no input: whatever wakes it, it looks for builds nobody works on. So a build left over from a crash is staged
//! again, and one whose end could not be written too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, chain};
use store::{Page, Query, StoreError, build};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{Instrument, error, info_span};

use crate::Settings;
use crate::droplet::fail;
use crate::stage::{STAGING, stage};

/// Builds staged at the same time.
const AT_ONCE: usize = 8;
/// Pause after the database failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Error of a build whose staging panicked.
const PANICKED: &str = "StagingError - the platform failed while it read the image; try again, and report the image to the operator";

/// Stages until its task set ends.
pub(crate) async fn run(settings: Arc<Settings>) {
    let mut feed = settings.store.feed();
    let mut stager = Stager {
        settings,
        tasks: JoinSet::new(),
        staging: HashMap::new(),
    };
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        feed.mark_unchanged();
        if let Err(failure) = stager.take_up().await {
            error!(error = chain(&failure), "the builds to be staged cannot be read");
            sleep(backoff.next_pause()).await;
            continue;
        }
        // Cancel-safe: `changed` and `sleep` only wait, and `join_next` takes nothing unless it is the one that ends.
        tokio::select! {
            _ = feed.changed() => {}
            Some(ended) = stager.tasks.join_next_with_id() => {
                match stager.ended(ended).await {
                    Ok(()) => backoff.reset(),
                    Err(failure) => {
                        error!(error = chain(&failure), "a build is staged again");
                        sleep(backoff.next_pause()).await;
                    }
                }
            }
            () = sleep(stager.settings.timing.converge_interval) => {}
        }
    }
}

/// Why a build has no end yet.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    #[error("its end could not be written")]
    Store(#[source] StoreError),
    #[error("staging it did not end in time")]
    Stuck,
}

struct Stager {
    settings: Arc<Settings>,
    tasks: JoinSet<Result<(), Unwritten>>,
    /// Builds being staged, by task.
    staging: HashMap<Id, String>,
}

impl Stager {
    /// Notes the end of a task. One that panicked would do so again: its build fails.
    async fn ended(
        &mut self,
        ended: Result<(Id, Result<(), Unwritten>), JoinError>,
    ) -> Result<(), Unwritten> {
        let (id, wrote) = match ended {
            Ok((id, wrote)) => (id, Some(wrote)),
            Err(failure) => (failure.id(), None),
        };
        match (self.staging.remove(&id), wrote) {
            (_, Some(wrote)) => wrote,
            (Some(build), None) => {
                error!(build, "staging panicked; the build fails");
                fail(&self.settings, &build, PANICKED)
                    .await
                    .map_err(Unwritten::Store)
            }
            (None, None) => Ok(()),
        }
    }

    /// Starts on builds nobody works on, as many as may be.
    async fn take_up(&mut self) -> Result<(), StoreError> {
        let room = AT_ONCE.saturating_sub(self.staging.len());
        if room == 0 {
            return Ok(());
        }
        let busy: HashSet<&String> = self.staging.values().collect();
        let query = Query::<build::Entity>::new()
            .eq(build::Column::State, STAGING)
            .none_of(build::Column::Guid, busy);
        let size = u64::try_from(room).unwrap_or(1);
        let tx = self.settings.store.read().await?;
        let (builds, _) = tx.page(query, Page { number: 1, size }).await?;
        drop(tx);
        for build in builds {
            let guid = build.guid.clone();
            let span = info_span!("stage", build = guid);
            let handle = self
                .tasks
                .spawn(one(self.settings.clone(), build).instrument(span));
            self.staging.insert(handle.id(), guid);
        }
        Ok(())
    }
}

/// Reading the image has its own limit; this one is for all of it, so that a slot is never lost.
async fn one(settings: Arc<Settings>, build: build::Model) -> Result<(), Unwritten> {
    let limit = settings.timing.staging_timeout + Duration::from_secs(60);
    match timeout(limit, stage(&settings, build)).await {
        Ok(ended) => ended.map_err(Unwritten::Store),
        Err(_) => Err(Unwritten::Stuck),
    }
}
