//! Who speaks in a log line: source, tags, time. One voice per instance.
//!
//! Sources and tags: cloudfoundry/executor:depot/log_streamer and
//! cloudfoundry/cloud_controller_ng:lib/cloud_controller/diego/app_recipe_builder.rb (`metric_tags`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base::{Clock, unix_nanos};
use wire::LogSink;
use wire::v1::{Envelope, InstanceSpec};

/// Speaks for one instance.
#[derive(Clone)]
pub(crate) struct Voice {
    sink: LogSink,
    clock: Arc<dyn Clock>,
    source_id: String,
    instance_id: String,
    app_source: String,
    tags: HashMap<String, String>,
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice")
            .field("source_id", &self.source_id)
            .finish_non_exhaustive()
    }
}

/// Which of the app's streams a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Voice {
    pub(crate) fn new(spec: &InstanceSpec, sink: LogSink, clock: Arc<dyn Clock>) -> Self {
        let app = spec.app.clone().unwrap_or_default();
        let index = spec.index.to_string();
        let tags = [
            ("app_id", app.app_guid.as_str()),
            ("app_name", &app.app_name),
            ("space_id", &app.space_guid),
            ("space_name", &app.space_name),
            ("organization_id", &app.org_guid),
            ("organization_name", &app.org_name),
            ("source_id", &app.app_guid),
            ("process_id", &spec.process_guid),
            ("process_type", &spec.process_type),
            ("process_instance_id", &spec.instance_guid),
            ("instance_id", &index),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        Self {
            sink,
            clock,
            source_id: app.app_guid,
            instance_id: index,
            app_source: format!("APP/PROC/{}", spec.process_type.to_uppercase()),
            tags,
        }
    }

    /// The source of the app's own lines, such as `APP/PROC/WEB`.
    pub(crate) fn app_source(&self) -> &str {
        &self.app_source
    }

    /// The cell says something about the instance.
    pub(crate) fn cell(&self, text: &str) {
        self.say("CELL", text.as_bytes().to_vec(), Stream::Out, self.clock.now());
    }

    /// A health check says why it failed.
    pub(crate) fn health(&self, text: &str) {
        self.say("HEALTH", text.as_bytes().to_vec(), Stream::Err, self.clock.now());
    }

    /// The platform says something among the app's own lines.
    pub(crate) fn aside(&self, text: &str, stream: Stream) {
        self.say(
            &self.app_source,
            text.as_bytes().to_vec(),
            stream,
            self.clock.now(),
        );
    }

    /// The app wrote a line.
    pub(crate) fn app(&self, line: Vec<u8>, stream: Stream, at: SystemTime) {
        self.say(&self.app_source, line, stream, at);
    }

    fn say(&self, source_type: &str, payload: Vec<u8>, stream: Stream, at: SystemTime) {
        self.sink.emit(Envelope {
            timestamp_ns: unix_nanos(at),
            source_id: self.source_id.clone(),
            instance_id: self.instance_id.clone(),
            source_type: source_type.to_owned(),
            payload,
            error: stream == Stream::Err,
            tags: self.tags.clone(),
        });
    }
}
