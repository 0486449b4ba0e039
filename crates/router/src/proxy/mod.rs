//! One request: whose is it, which backend gets it, what comes back.
//!
//! ```text
//! check ─▶ host ─▶ platform host? ──────────────▶ forward ─▶ response
//!                └▶ route ─▶ selection ─▶ headers ─▶ forward ─▶ response or tunnel
//! ```
//! Every way out that is not an answer of a backend is a [`Rejection`], and only here one becomes a response.

mod forward;
mod hygiene;
mod outgoing;
mod reject;
mod sticky;
mod target;
mod tunnel;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Tasks;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::access_log::{Arrival, Log, Record, Summary};
use crate::backend::{Dialer, Lease};
use crate::body::ResponseBody;
use crate::client::Client;
use crate::instance::Instance;
use crate::names;
use crate::settings::Settings;
use crate::table::{Selection, Table};
use crate::trace::Ids;
use outgoing::Outgoing;
use reject::Rejection;
use target::Target;

pub(crate) struct Proxy {
    settings: Arc<Settings>,
    table: Arc<Table>,
    platform: HashMap<Box<str>, Arc<Instance>>,
    dialer: Arc<Dialer>,
    tunnels: Tasks,
    log: Arc<Log>,
}

/// What is known of a request besides itself.
struct Context<'a> {
    client: &'a Arc<Client>,
    arrival: Arrival,
    ids: &'a Ids,
}

/// What came back, and over which connection.
struct Reply {
    response: Response<Incoming>,
    lease: Lease,
}

impl Proxy {
    /// `front` gets tasks that end with the clients, `backends` those that end with the router.
    pub(crate) fn new(settings: &Arc<Settings>, table: Arc<Table>, front: &Tasks, backends: &Tasks) -> Self {
        let platform = settings.system_hosts.iter().map(|(host, backend)| {
            (
                host.to_ascii_lowercase().into(),
                Arc::new(Instance::of_platform(backend.address)),
            )
        });
        Self {
            table,
            platform: platform.collect(),
            dialer: Arc::new(Dialer {
                tasks: backends.clone(),
                timeouts: settings.timeouts.clone(),
                limits: settings.limits.clone(),
            }),
            tunnels: front.clone(),
            log: Arc::new(Log {
                sink: settings.log.clone(),
                instance_id: settings.index.to_string(),
            }),
            settings: settings.clone(),
        }
    }

    /// Answers one request.
    pub(crate) async fn serve(
        &self,
        client: &Arc<Client>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let busy = client.activity.begin();
        let arrival = Arrival {
            at: self.settings.clock.now(),
            instant: Instant::now(),
        };
        let ids = Ids::random();
        let context = Context {
            client,
            arrival,
            ids: &ids,
        };
        let version = request.version();
        let mut record = None;
        let answer = self.answer(&context, request, &mut record).await;
        let mut response = answer.unwrap_or_else(|rejection| rejection.into_response(version, record));
        response
            .headers_mut()
            .entry(&names::VCAP_REQUEST_ID)
            .or_insert(ids.request);
        response.map(|body| body.keeping(busy))
    }

    /// `record` is set as soon as the request belongs to an app, and taken by whoever outlives this call.
    async fn answer(
        &self,
        context: &Context<'_>,
        request: Request<Incoming>,
        record: &mut Option<Record>,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let (mut parts, body) = request.into_parts();
        self.check(&parts)?;
        let host = target::host(&parts)?;
        let target = self.target(&host, &parts)?;
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let summary = Summary::new(
            host.clone(),
            (&parts.method, &parts.uri, parts.version),
            context.client,
        );
        let mut outgoing = Outgoing::new(parts, body, host, &self.settings.timeouts);
        outgoing.introduce(context.client, &context.arrival);
        context.ids.apply(&mut outgoing.headers);
        if let Some(instance) = target.witness() {
            let summary = summary.with_headers(&outgoing.headers);
            let record = record.insert(Record::new(self.log.clone(), summary, context.arrival, instance));
            record.uploads(outgoing.upload.clone());
        }
        let reply = self.forward(&mut outgoing, &target, record).await?;
        if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let asked = upgrade.filter(|_| outgoing.upgrade.is_some());
            return self.tunnel(context.client, asked, reply, record);
        }
        Ok(self.respond(&outgoing, &target, reply, record))
    }

    fn check(&self, parts: &http::request::Parts) -> Result<(), Rejection> {
        if hygiene::head_size(parts) >= self.settings.limits.header_bytes {
            return Err(Rejection::HeadTooLarge);
        }
        if parts.method == Method::CONNECT {
            return Err(Rejection::MethodNotAllowed);
        }
        // Anything but plain chunking would reach the app as a body we no longer describe.
        match parts.headers.get(header::TRANSFER_ENCODING) {
            Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                Err(Rejection::Malformed("unsupported Transfer-Encoding"))
            }
            _ => Ok(()),
        }
    }

    /// The backend's answer on its way to the client.
    fn respond(
        &self,
        outgoing: &Outgoing,
        target: &Target,
        mut reply: Reply,
        record: &mut Option<Record>,
    ) -> Response<ResponseBody> {
        let (mut parts, incoming) = reply.response.into_parts();
        hygiene::clean_response(&mut parts);
        if let Target::Route(pool, selection) = target {
            let asked = match selection {
                Selection::Prefer(guid) => Some(&**guid),
                _ => None,
            };
            sticky::stick(&mut parts.headers, asked, reply.lease.instance(), &pool.path);
        }
        if outgoing.expects() {
            reply.lease.make_last();
        }
        let mut record = record.take();
        if let Some(record) = &mut record {
            record.answered(parts.status);
        }
        let body = ResponseBody::stream(incoming, (reply.lease, self.dialer.clone()), record);
        Response::from_parts(parts, body)
    }

    /// Closes connections to backends that were idle for too long.
    pub(crate) fn sweep(&self) {
        let idle: Duration = self.settings.timeouts.backend_idle;
        self.table.sweep(idle);
        self.platform
            .values()
            .for_each(|instance| instance.connections.close_idle(idle));
    }
}
