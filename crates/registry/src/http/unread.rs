//! The body of a request until somebody reads it.
//!
//! A connection closed while the client still sends may cost it the reply, so when a request is refused before its body
//! was touched, the body is read and thrown away first, within bounds.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use tokio::time::timeout;

/// What is thrown away at most, before a client must live with a broken connection.
const BYTES: usize = 16 << 20;
const TIME: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Unread(Mutex<Option<Body>>);

impl Unread {
    pub(super) fn new(body: Body) -> Self {
        Self(Mutex::new(Some(body)))
    }

    /// The body; an empty one after the first time.
    pub(super) fn take(&self) -> Body {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .take()
            .unwrap_or_default()
    }

    /// Reads what nobody took.
    pub(super) async fn discard(&self) {
        let mut body = self.take().into_data_stream();
        let reading = async {
            let mut size = 0;
            while let Some(Ok(chunk)) = body.next().await
                && size < BYTES
            {
                size += chunk.len();
            }
        };
        // Whether all came or not, the reply goes out now.
        let _ = timeout(TIME, reading).await;
    }
}
