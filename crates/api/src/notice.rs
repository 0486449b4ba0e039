//! Lines the API adds to an app's log.

use std::collections::HashMap;

use base::unix_nanos;
use wire::v1::Envelope;

use crate::State;

/// An `API` line in the log of an app.
pub fn api(state: &State, app_guid: &str, text: String) {
    state.logs.emit(Envelope {
        timestamp_ns: unix_nanos(state.store.clock().now()),
        source_id: app_guid.to_owned(),
        instance_id: "0".to_owned(),
        source_type: "API".to_owned(),
        payload: text.into_bytes(),
        error: false,
        tags: HashMap::new(),
    });
}
