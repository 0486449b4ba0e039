//! Switched protocols (WebSocket above all): after `101` both connections are one tunnel of bytes. It counts as a
//! request in flight, has no time limit, and is logged when it ends.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::{Proxy, Rejection, Reply};
use crate::access_log::Record;
use crate::body::ResponseBody;
use crate::client::Client;
use crate::names;
use http::header;

const BUFFER: usize = 64 * 1024;
/// How long either side may take to hand over its connection after `101`.
const SWITCH: Duration = Duration::from_secs(10);

impl Proxy {
    /// Passes `101` on and joins the connections behind it. `asked` is the client's side, `None` if it asked for no
    /// such thing.
    pub(super) fn tunnel(
        &self,
        client: &Arc<Client>,
        asked: Option<OnUpgrade>,
        reply: Reply,
        record: &mut Option<Record>,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let (mut parts, _) = reply.response.into_parts();
        let (Some(front), Some(back)) = (asked, parts.extensions.remove::<OnUpgrade>()) else {
            return Err(Rejection::EndpointFailure("unasked protocol switch".into()));
        };
        let mut record = record.take();
        if let Some(record) = &mut record {
            record.answered(parts.status);
        }
        parts.headers.remove(&names::KEEP_ALIVE);
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.remove(header::CONTENT_LENGTH);
        let (client, lease) = (client.clone(), reply.lease);
        self.tunnels.spawn_graceful("tunnel", async move {
            let sent = join(front, back).await;
            if let Some(record) = &mut record {
                record.sent(usize::try_from(sent).unwrap_or(usize::MAX));
                record.backend_finished();
            }
            // Both connections are counted until here.
            drop((client, lease));
        });
        Ok(Response::from_parts(parts, ResponseBody::whole("")))
    }
}

/// Copies both ways until both sides have ended, or one broke off; gives the bytes sent to the client.
async fn join(front: OnUpgrade, back: OnUpgrade) -> u64 {
    let both = async { tokio::try_join!(front, back) };
    let (front, back) = match tokio::time::timeout(SWITCH, both).await {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => {
            debug!(%error, "a protocol switch was not completed");
            return 0;
        }
        Err(_elapsed) => return 0,
    };
    let (mut front, mut back) = (TokioIo::new(front), TokioIo::new(back));
    match tokio::io::copy_bidirectional_with_sizes(&mut front, &mut back, BUFFER, BUFFER).await {
        Ok((_received, sent)) => sent,
        Err(error) => {
            debug!(%error, "a tunnel broke");
            0
        }
    }
}
