//! Telling of a crash: an audit event, and two lines in the app's log.
//!
//! Texts and fields: cloudfoundry/cloud_controller_ng:app/controllers/internal/app_crashed_controller.rb and
//! app/repositories/process_event_repository.rb.

use model::CellId;
use serde_json::json;
use store::{StoreError, Tx, app, audit_event, new_guid, process, space};
use wire::v1::Exit;

/// Lines of the instance that go into the event, and how long each may be.
const LINES: usize = 10;
const LINE_BYTES: usize = 500;

/// A crash that is written into its row.
pub(crate) struct CrashReport {
    pub(crate) instance: String,
    pub(crate) process: String,
    pub(crate) version: String,
    pub(crate) index: i64,
    pub(crate) cell: CellId,
    pub(crate) exit: Exit,
    pub(crate) count: u32,
    pub(crate) at_ns: i64,
}

/// Lines for the log of an app.
pub(crate) struct Told {
    pub(crate) app_guid: String,
    pub(crate) lines: [String; 2],
}

/// Writes the event. `None` if the app was deleted meanwhile: nobody is left to be told.
pub(crate) async fn record(tx: &Tx, crash: &CrashReport) -> Result<Option<Told>, StoreError> {
    let Some(process) = tx.find::<process::Entity>(&crash.process).await? else {
        return Ok(None);
    };
    let Some(app) = tx.find::<app::Entity>(&process.app_guid).await? else {
        return Ok(None);
    };
    let space = tx.find::<space::Entity>(&app.space_guid).await?;
    let lines = [
        format!(
            "App instance exited with guid {} payload: {}",
            app.guid,
            crash.payload()
        ),
        format!("Process has crashed with type: \"{}\"", process.kind),
    ];
    let row = audit_event::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        kind: "audit.app.process.crash".to_owned(),
        actor_guid: process.guid,
        actor_kind: "process".to_owned(),
        actor_name: process.kind,
        target_guid: app.guid.clone(),
        target_kind: "app".to_owned(),
        target_name: app.name,
        data: crash.data().to_string(),
        space_guid: Some(app.space_guid),
        org_guid: space.map(|space| space.org_guid),
    };
    tx.insert::<audit_event::Entity>(row).await?;
    Ok(Some(Told {
        app_guid: app.guid,
        lines,
    }))
}

impl CrashReport {
    fn data(&self) -> serde_json::Value {
        let lines = &self.exit.last_lines;
        let last: Vec<&str> = lines
            .iter()
            .skip(lines.len().saturating_sub(LINES))
            .map(|line| &line[..line.floor_char_boundary(LINE_BYTES)])
            .collect();
        json!({
            "index": self.index, "instance": self.instance, "cell_id": self.cell.as_str(), "reason": "CRASHED",
            "exit_description": self.exit.description, "exit_status": self.exit.status,
            "crash_count": self.count, "crash_timestamp": self.at_ns, "version": self.version,
            "last_log_lines": last,
        })
    }

    /// As the reference prints it.
    fn payload(&self) -> String {
        format!(
            "{{\"instance\"=>\"{}\", \"index\"=>{}, \"cell_id\"=>\"{}\", \"reason\"=>\"CRASHED\", \
             \"exit_description\"=>{:?}, \"crash_count\"=>{}, \"crash_timestamp\"=>{}, \"version\"=>\"{}\"}}",
            self.instance, self.index, self.cell, self.exit.description, self.count, self.at_ns, self.version
        )
    }
}
