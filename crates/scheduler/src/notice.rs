//! Lines the scheduler adds to an app's log.

use std::collections::HashMap;

use wire::v1::Envelope;

use crate::Settings;

/// Where a line comes from, in the words of the log.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// The platform's API.
    Api,
    /// Staging.
    Staging,
}

/// Whether a line tells of a failure.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Plain,
    Error,
}

/// Adds a line to the log of an app.
pub(crate) fn line(settings: &Settings, app_guid: &str, (source, tone): (Source, Tone), text: &str) {
    settings.logs.emit(Envelope {
        timestamp_ns: settings.now_ns(),
        source_id: app_guid.to_owned(),
        instance_id: "0".to_owned(),
        source_type: match source {
            Source::Api => "API",
            Source::Staging => "STG",
        }
        .to_owned(),
        // One line is one envelope, whatever an image put into its names.
        payload: text.replace(['\n', '\r'], " ").into_bytes(),
        error: matches!(tone, Tone::Error),
        tags: HashMap::new(),
    });
}
