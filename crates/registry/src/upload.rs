//! Uploads under way. They live in memory with their file; a restart forgets them and clients begin anew.
//!
//! Bounds: so many at a time in all and per repository; one left alone for an hour is removed, and when all places are
//! taken the one left alone longest gives way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout;
use uuid::Uuid;

use crate::blob::Partial;
use crate::failure::Failure;
use crate::http::blocking;
use crate::name::Repository;

const MOST: usize = 512;
const MOST_PER_REPOSITORY: usize = 128;
const IDLE: Duration = Duration::from_secs(3600);
/// Alone for less, an upload is taken to be in use and does not give way.
const FRESH: Duration = Duration::from_secs(60);
/// How long a request waits for one on the same upload to end.
const TURN: Duration = Duration::from_secs(10);
/// How long a sender may be silent.
const STALL: Duration = Duration::from_secs(60);
/// Bytes gathered before they are hashed and written in one go.
const GATHER: usize = 1 << 20;

/// The right to write to an upload; nobody else has it meanwhile. `None` inside: it was finished.
pub(crate) type Held = OwnedMutexGuard<Option<Partial>>;

/// All of them.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<Uuid, Session>>);

struct Session {
    repository: Repository,
    partial: Arc<AsyncMutex<Option<Partial>>>,
    touched: Instant,
}

impl Session {
    /// How long nobody has used it; `None` while somebody does.
    fn idle(&self) -> Option<Duration> {
        self.partial.try_lock().is_ok().then(|| self.touched.elapsed())
    }
}

impl Uploads {
    /// Adds an upload to `repository`.
    pub(crate) fn begin(&self, repository: &Repository, partial: Partial) -> Result<Uuid, Failure> {
        let mut sessions = self.lock();
        let stale = make_room(&mut sessions);
        let here = sessions.values().filter(|s| s.repository == *repository).count();
        if sessions.len() >= MOST || here >= MOST_PER_REPOSITORY {
            return Err(Failure::TooManyUploads);
        }
        let id = Uuid::new_v4();
        let partial = Arc::new(AsyncMutex::new(Some(partial)));
        sessions.insert(
            id,
            Session {
                repository: repository.clone(),
                partial,
                touched: Instant::now(),
            },
        );
        drop(sessions);
        // Removes their files, hence after the lock.
        drop(stale);
        Ok(id)
    }

    /// Takes hold of an upload of `repository`.
    pub(crate) async fn hold(&self, repository: &Repository, id: &str) -> Result<(Uuid, Held), Failure> {
        let id: Uuid = id.parse().map_err(|_| Failure::UploadUnknown)?;
        let partial = match self.lock().get_mut(&id) {
            Some(session) if session.repository == *repository => {
                session.touched = Instant::now();
                session.partial.clone()
            }
            _ => return Err(Failure::UploadUnknown),
        };
        let held = timeout(TURN, partial.lock_owned())
            .await
            .map_err(|_| Failure::UploadBusy)?;
        if held.is_some() {
            Ok((id, held))
        } else {
            Err(Failure::UploadUnknown)
        }
    }

    /// Forgets an upload; its file goes with the last holder.
    pub(crate) fn end(&self, id: Uuid) {
        let ended = self.lock().remove(&id);
        drop(ended);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Session>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn make_room(sessions: &mut HashMap<Uuid, Session>) -> Vec<Session> {
    let mut stale: Vec<_> = sessions
        .extract_if(|_, session| session.idle().is_some_and(|idle| idle > IDLE))
        .map(|(_, s)| s)
        .collect();
    if sessions.len() >= MOST {
        let longest = sessions
            .iter()
            .filter_map(|(id, session)| Some((session.idle()?, *id)))
            .max();
        if let Some((idle, id)) = longest
            && idle > FRESH
        {
            stale.extend(sessions.remove(&id));
        }
    }
    stale
}

/// Hold of an upload that is none of a client's sessions: its whole content comes in one request.
pub(crate) async fn hold_alone(partial: Partial) -> Held {
    Arc::new(AsyncMutex::new(Some(partial))).lock_owned().await
}

/// Bytes taken so far.
pub(crate) fn written(held: &Held) -> u64 {
    held.as_ref().map_or(0, Partial::written)
}

enum After {
    More,
    End,
    Broken,
}

/// Appends a body. What came before a fault is kept, so that a client may go on from there. The hold moves with each
/// write: when the request is dropped meanwhile, the write still ends before anybody else may write.
pub(crate) async fn receive(mut held: Held, body: Body) -> Result<Held, Failure> {
    let mut body = body.into_data_stream();
    loop {
        let (chunks, after) = gather(&mut body).await;
        held = blocking(move || match held.as_mut() {
            Some(partial) => partial.append(&chunks).map(|()| held),
            None => Err(Failure::UploadUnknown),
        })
        .await?;
        match after {
            After::More => {}
            After::End => return Ok(held),
            After::Broken => return Err(Failure::BodyBroken),
        }
    }
}

async fn gather(body: &mut axum::body::BodyDataStream) -> (Vec<Bytes>, After) {
    let (mut chunks, mut size) = (Vec::new(), 0);
    while size < GATHER {
        match timeout(STALL, body.next()).await {
            Ok(Some(Ok(chunk))) => {
                size += chunk.len();
                chunks.push(chunk);
            }
            Ok(None) => return (chunks, After::End),
            Ok(Some(Err(_))) | Err(_) => return (chunks, After::Broken),
        }
    }
    (chunks, After::More)
}
