//! What the platform says about an app while a command works on it: the stager's lines, and layers being fetched.

use std::time::Duration;

use crate::api::{Api, Envelope, Tail};
use crate::error::Error;
use crate::ui::Ui;

/// How often new lines are asked for.
const ROUND: Duration = Duration::from_millis(250);

/// Which lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Everything the stager says.
    Staging,
    /// What a cell says about layers on their way.
    Fetching,
}

impl About {
    fn wants(self, line: &Envelope) -> bool {
        match self {
            Self::Staging => line.source == "STG",
            Self::Fetching => line.source == "CELL" && line.text.starts_with("Fetch"),
        }
    }
}

/// Lines as they come. Their loss is no failure: the work goes on without them.
pub struct Lines<'a> {
    api: &'a Api,
    ui: &'a Ui,
    about: About,
    tail: Option<Tail>,
}

impl<'a> Lines<'a> {
    /// Starts after the newest line there is.
    pub async fn open(api: &'a Api, ui: &'a Ui, app: &str, about: About) -> Self {
        let tail = Tail::open(api, app, None).await;
        let mut lines = Self {
            api,
            ui,
            about,
            tail: None,
        };
        match tail {
            Ok(tail) => lines.tail = Some(tail),
            Err(error) => lines.give_up(&error),
        }
        lines
    }

    /// Waits a moment and shows what has come.
    pub async fn round(&mut self) {
        tokio::time::sleep(ROUND).await;
        self.show().await;
    }

    /// Shows what comes until it is dropped.
    pub async fn follow(&mut self) {
        loop {
            self.round().await;
        }
    }

    /// Shows what came at the very end; the last lines may be a moment late.
    pub async fn rest(&mut self) {
        self.show().await;
        tokio::time::sleep(ROUND / 2).await;
        self.show().await;
    }

    async fn show(&mut self) {
        let Some(tail) = &mut self.tail else { return };
        match tail.next(self.api).await {
            Ok(lines) => {
                let wanted = lines.iter().filter(|line| self.about.wants(line));
                wanted.for_each(|line| self.ui.line(&format!("   {}", line.text)));
            }
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &Error) {
        self.tail = None;
        // Told once, at staging; what a cell fetches is a courtesy.
        if self.about == About::Staging {
            self.ui
                .warn(&format!("Failed to retrieve logs from Log Cache: {error}"));
        }
    }
}
