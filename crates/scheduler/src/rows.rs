//! Instance rows of one pass: read once, changed in memory, written once.
//!
//! The scheduler is the only writer of these rows and has one pass at a time, so nothing changes under it.

use std::collections::BTreeMap;

use model::{Denied, LrpEvent, LrpState};
use store::actual_lrp::{Column, Entity, Model};
use store::{Query, StoreError, Tx};
use tracing::warn;

/// Rows deleted with one statement.
const CHUNK: usize = 500;

/// The rows, by instance guid.
#[derive(Default)]
pub(crate) struct Rows {
    rows: BTreeMap<String, Row>,
    /// Guids of rows in the database that are to go.
    gone: Vec<String>,
}

struct Row {
    model: Model,
    /// Guid in the database; `None` for a row it does not have yet.
    stored: Option<String>,
    changed: bool,
}

impl Rows {
    /// All rows of the database.
    pub(crate) async fn read(tx: &Tx) -> Result<Self, StoreError> {
        let stored = tx.all(Query::<Entity>::new()).await?;
        Ok(stored.into_iter().collect())
    }

    pub(crate) fn get(&self, guid: &str) -> Option<&Model> {
        self.rows.get(guid).map(|row| &row.model)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Model> {
        self.rows.values().map(|row| &row.model)
    }

    /// Changes a row; does nothing if there is none. Its guid may change.
    pub(crate) fn edit(&mut self, guid: &str, change: impl FnOnce(&mut Model)) {
        let Some(mut row) = self.rows.remove(guid) else {
            return;
        };
        let before = row.model.clone();
        change(&mut row.model);
        row.changed |= row.model != before;
        self.rows.insert(row.model.guid.clone(), row);
    }

    pub(crate) fn insert(&mut self, model: Model) {
        let row = Row {
            model,
            stored: None,
            changed: true,
        };
        self.rows.insert(row.model.guid.clone(), row);
    }

    pub(crate) fn remove(&mut self, guid: &str) {
        if let Some(row) = self.rows.remove(guid) {
            self.gone.extend(row.stored);
        }
    }

    pub(crate) fn is_changed(&self) -> bool {
        !self.gone.is_empty() || self.rows.values().any(|row| row.changed)
    }

    /// Writes what changed.
    pub(crate) async fn write(&self, tx: &Tx) -> Result<(), StoreError> {
        for guids in self.gone.chunks(CHUNK) {
            tx.delete_where(Query::<Entity>::new().any_of(Column::Guid, guids))
                .await?;
        }
        for row in self.rows.values().filter(|row| row.changed) {
            match row.stored {
                Some(_) => tx.update::<Entity>(row.model.clone()).await?,
                None => tx.insert::<Entity>(row.model.clone()).await?,
            };
        }
        Ok(())
    }
}

impl FromIterator<Model> for Rows {
    fn from_iter<T: IntoIterator<Item = Model>>(stored: T) -> Self {
        let row = |model: Model| {
            let stored = Some(model.guid.clone());
            let row = Row {
                model,
                stored,
                changed: false,
            };
            (row.model.guid.clone(), row)
        };
        Self {
            rows: stored.into_iter().map(row).collect(),
            gone: Vec::new(),
        }
    }
}

/// The state of a row. One that says nothing known counts as unclaimed: it is placed anew.
pub(crate) fn state_of(row: &Model) -> LrpState {
    row.state.parse().unwrap_or_else(|_| {
        warn!(
            instance = row.guid,
            state = row.state,
            "an instance row has no known state"
        );
        LrpState::Unclaimed
    })
}

/// Moves a row along the state machine, or leaves it and says why not.
pub(crate) fn step(row: &mut Model, event: LrpEvent) -> Result<(), Denied> {
    row.state = state_of(row).transition(event)?.as_str().to_owned();
    Ok(())
}

/// Takes away what only a container has.
pub(crate) fn clear_container(row: &mut Model) {
    row.cell_id = None;
    row.address = None;
    row.ports = "[]".to_owned();
    row.ready = false;
}

#[cfg(test)]
pub(crate) fn sample(guid: &str, state: LrpState, cell: Option<&str>) -> Model {
    Model {
        id: 1,
        guid: guid.to_owned(),
        created_at: 0,
        updated_at: 0,
        process_guid: "p".to_owned(),
        process_version: "v".to_owned(),
        instance_index: 0,
        state: state.as_str().to_owned(),
        cell_id: cell.map(str::to_owned),
        address: None,
        ports: "[]".to_owned(),
        ready: false,
        since_ns: 0,
        memory_mb: 64,
        disk_mb: 64,
        crash_count: 0,
        crash_reason: None,
        placement_error: None,
        retry_at_ns: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_changes_count() {
        let mut rows: Rows = [sample("a", LrpState::Running, Some("c"))].into_iter().collect();
        rows.edit("a", |row| row.ready = false);
        rows.edit("unknown", |row| row.ready = true);
        assert!(!rows.is_changed());
        rows.edit("a", |row| row.guid = "b".to_owned());
        assert!(rows.is_changed() && rows.get("a").is_none());
        rows.remove("b");
        assert_eq!(
            rows.gone,
            ["a"],
            "a row is deleted by the guid the database knows"
        );
    }

    #[test]
    fn a_row_that_was_never_stored_goes_without_a_trace() {
        let mut rows = Rows::default();
        rows.insert(sample("a", LrpState::Unclaimed, None));
        rows.remove("a");
        assert!(!rows.is_changed());
    }
}
