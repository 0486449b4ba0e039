//! The access log: one `RTR` line for each request to an app, in the format of the reference router.
//!
//! A [`Record`] collects what is known and hands the line out when it is dropped, so no way out of a request, a client
//! that walked away included (499), can forget it.

use std::fmt::Write;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base::unix_nanos;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use wire::v1::Envelope;

use crate::body::Upload;
use crate::client::Client;
use crate::instance::Instance;
use crate::names;
use crate::settings::LogSink;

/// Longest value of a header, in bytes, and longest URI in a line.
const HEADER: usize = 1_000;
const URI: usize = 20_000;

/// Where lines go, and from which router.
pub(crate) struct Log {
    pub(crate) sink: LogSink,
    pub(crate) instance_id: String,
}

/// When a request came.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: SystemTime,
    pub(crate) instant: Instant,
}

pub(crate) struct Record(Box<Fields>);

struct Fields {
    log: Arc<Log>,
    request: Summary,
    arrival: Arrival,
    /// The instance asked last, or one of the route's while none was.
    instance: Arc<Instance>,
    asked: bool,
    upload: Option<Arc<Upload>>,
    sent: u64,
    status: StatusCode,
    router_error: Option<String>,
    backend_started: Option<Instant>,
    backend_finished: Option<Instant>,
}

/// What a line says of the request. Values are shared with the request, not copied.
pub(crate) struct Summary {
    pub(crate) host: HeaderValue,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) client: Arc<Client>,
    headers: [Option<HeaderValue>; LOGGED],
}

const LOGGED: usize = 9;

fn logged() -> [&'static HeaderName; LOGGED] {
    [
        &header::REFERER,
        &header::USER_AGENT,
        &names::FORWARDED_FOR,
        &names::FORWARDED_PROTO,
        &names::VCAP_REQUEST_ID,
        &names::B3_TRACE_ID,
        &names::B3_SPAN_ID,
        &names::B3_PARENT_SPAN_ID,
        &names::B3,
    ]
}

impl Summary {
    /// `headers` as the app gets them.
    pub(crate) fn new(host: HeaderValue, request: (&Method, &Uri, Version), client: &Arc<Client>) -> Self {
        let (method, uri, version) = request;
        Self {
            host,
            method: method.clone(),
            uri: uri.clone(),
            version,
            client: client.clone(),
            headers: Default::default(),
        }
    }

    /// Takes what a line shows of the headers the app gets.
    pub(crate) fn with_headers(mut self, headers: &HeaderMap) -> Self {
        self.headers = logged().map(|name| headers.get(name).cloned());
        self
    }
}

impl Record {
    pub(crate) fn new(log: Arc<Log>, request: Summary, arrival: Arrival, instance: Arc<Instance>) -> Self {
        Self(Box::new(Fields {
            log,
            request,
            arrival,
            instance,
            asked: false,
            upload: None,
            sent: 0,
            // Unless somebody answers, the client has left.
            status: StatusCode::from_u16(499).expect("a three-digit number"),
            router_error: None,
            backend_started: None,
            backend_finished: None,
        }))
    }

    pub(crate) fn uploads(&mut self, upload: Option<Arc<Upload>>) {
        self.0.upload = upload;
    }

    pub(crate) fn asks(&mut self, instance: &Arc<Instance>) {
        self.0.instance = instance.clone();
        self.0.asked = true;
        self.0.backend_started.get_or_insert_with(Instant::now);
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.0.status = status;
    }

    /// The router itself answers, with a body of `bytes`.
    pub(crate) fn refused(&mut self, status: StatusCode, error: &str, bytes: usize) {
        self.0.status = status;
        self.0.router_error = Some(error.to_owned());
        self.0.sent = bytes as u64;
        self.backend_finished();
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.0.sent += bytes as u64;
    }

    pub(crate) fn backend_finished(&mut self) {
        self.0.backend_finished.get_or_insert_with(Instant::now);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let fields = &self.0;
        let Some(identity) = &fields.instance.identity else {
            return;
        };
        let envelope = Envelope {
            timestamp_ns: unix_nanos(fields.arrival.at),
            source_id: String::from_utf8_lossy(identity.app_guid.as_bytes()).into_owned(),
            instance_id: fields.log.instance_id.clone(),
            source_type: "RTR".into(),
            payload: fields.line(Instant::now()),
            ..Default::default()
        };
        (fields.log.sink)(envelope);
    }
}

impl Fields {
    fn line(&self, now: Instant) -> Vec<u8> {
        let mut line = Line(String::with_capacity(768));
        self.request_part(&mut line);
        self.timing_part(&mut line, now);
        let [_, _, _, _, _, trace, span, parent, b3] = &self.request.headers;
        line.named(
            " x_cf_routererror:",
            self.router_error.as_deref().map(str::as_bytes),
        );
        line.header(" x_b3_traceid:", trace);
        line.header(" x_b3_spanid:", span);
        line.header(" x_b3_parentspanid:", parent);
        line.header(" b3:", b3);
        line.0.into_bytes()
    }

    fn request_part(&self, line: &mut Line) {
        let request = &self.request;
        line.0.push_str(&String::from_utf8_lossy(request.host.as_bytes()));
        line.0.push_str(" - [");
        timestamp(&mut line.0, unix_nanos(self.arrival.at));
        line.0.push_str("] ");
        let uri = request.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let uri = if uri.len() > URI {
            uri.get(..URI).unwrap_or("")
        } else {
            uri
        };
        line.quoted(format_args!("{} {uri} {:?}", request.method, request.version));
        let received = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        let _ = write!(line.0, " {} {received} {}", self.status.as_u16(), self.sent);
        let [referer, agent, forwarded_for, forwarded_proto, id, ..] = &request.headers;
        line.header(" ", referer);
        line.header(" ", agent);
        line.named(" ", Some(request.client.remote.as_bytes()));
        if self.asked {
            line.0.push(' ');
            line.quoted(format_args!("{}", self.instance.address));
        } else {
            line.named(" ", None);
        }
        line.header(" x_forwarded_for:", forwarded_for);
        line.header(" x_forwarded_proto:", forwarded_proto);
        line.header(" vcap_request_id:", id);
    }

    fn timing_part(&self, line: &mut Line, now: Instant) {
        let whole = now.saturating_duration_since(self.arrival.instant);
        let _ = write!(line.0, " response_time:{:.6}", whole.as_secs_f64());
        match self.backend_started {
            Some(started) => {
                let backend = self
                    .backend_finished
                    .unwrap_or(now)
                    .saturating_duration_since(started);
                let _ = write!(
                    line.0,
                    " gorouter_time:{:.6}",
                    whole.saturating_sub(backend).as_secs_f64()
                );
            }
            None => line.named(" gorouter_time:", None),
        }
        let identity = self.instance.identity.as_ref();
        line.named(" app_id:", identity.map(|id| id.app_guid.as_bytes()));
        let identity = identity.filter(|_| self.asked);
        line.named(" app_index:", identity.map(|id| id.index_text.as_bytes()));
        line.named(" instance_id:", identity.map(|id| id.instance_guid.as_bytes()));
    }
}

struct Line(String);

impl Line {
    fn header(&mut self, name: &str, value: &Option<HeaderValue>) {
        self.named(name, value.as_ref().map(HeaderValue::as_bytes));
    }

    /// `name"value"`, with a dash for nothing.
    fn named(&mut self, name: &str, value: Option<&[u8]>) {
        self.0.push_str(name);
        match value.filter(|value| !value.is_empty()) {
            None => self.0.push_str("\"-\""),
            Some(value) => {
                let shown = value.get(..HEADER).unwrap_or(value);
                match std::str::from_utf8(shown) {
                    // Nearly every value; worth not going through the formatter.
                    Ok(plain) if !plain.contains(special) => self.0.extend(["\"", plain, "\""]),
                    _ => self.quoted(format_args!("{}", String::from_utf8_lossy(shown))),
                }
            }
        }
    }

    fn quoted(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.push('"');
        let _ = Escaped(&mut self.0).write_fmt(text);
        self.0.push('"');
    }
}

fn special(c: char) -> bool {
    c == '"' || c == '\\' || c.is_control()
}

/// Keeps foreign text inside its quotes and the line one line.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            let (plain, from) = rest.split_at(at);
            self.0.push_str(plain);
            let mut chars = from.chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => self.0.extend(['\\', c]),
                Some(c) => write!(self.0, "\\x{:02x}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

/// `2006-01-02T15:04:05.000000000Z` from nanoseconds since 1970.
fn timestamp(out: &mut String, nanos: i64) {
    let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1970-01-01 to a civil date; the year starts in March, so that the leap day is its last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{nanos:09}Z",
        second % 60
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_735_689_599_999_999_999, "2024-12-31T23:59:59.999999999Z"),
            (4_102_444_800_500_000_000, "2100-01-01T00:00:00.500000000Z"),
        ] {
            let mut text = String::new();
            timestamp(&mut text, nanos);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn foreign_text_cannot_leave_its_quotes() {
        let mut line = Line(String::new());
        line.named("a:", Some(b"x\" y\\ \x01\t\xff"));
        line.named(" b:", Some(b""));
        assert_eq!(line.0, "a:\"x\\\" y\\\\ \\x01\\x09\u{fffd}\" b:\"-\"");
    }
}
