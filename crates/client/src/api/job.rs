//! Jobs: what the API does after it has answered.

use std::time::Duration;

use serde_json::Value;

use super::{Api, Reply};
use crate::error::{Cause, Error, Refusal, Result};
use crate::json::Json;
use crate::pace::Pace;

/// How long a job may take; deleting a large org is the slowest one.
const LIMIT: Duration = Duration::from_secs(60 * 60);

impl Api {
    /// Waits for the job a reply points to, if it points to one.
    ///
    /// # Errors
    /// `Job (…) failed: …` when it failed.
    pub async fn finish(&self, reply: &Reply) -> Result<()> {
        let Some(job) = self.await_job(reply).await? else {
            return Ok(());
        };
        let detail = refusal(&job).map(|refusal| refusal.to_string());
        let guid = job.guid();
        Err(Error::Message(match detail {
            Some(detail) => format!("Job ({guid}) failed: {detail}"),
            None => format!(
                "Job {guid} failed with no error. This is unexpected, contact your operator for details."
            ),
        }))
    }

    /// As [`Api::finish`], but a failure reads like an immediate refusal.
    ///
    /// # Errors
    /// The job's own words.
    pub async fn finish_verbatim(&self, reply: &Reply) -> Result<()> {
        let Some(job) = self.await_job(reply).await? else {
            return Ok(());
        };
        Err(match refusal(&job) {
            Some(refusal) => Error::Api(refusal),
            None => Error::Message(format!("Job {} failed with no error.", job.guid())),
        })
    }

    /// The failed job, if it failed.
    async fn await_job(&self, reply: &Reply) -> Result<Option<Value>> {
        let location = reply.header("location");
        if location.is_empty() {
            return Ok(None);
        }
        let mut pace = Pace::within(LIMIT);
        loop {
            let job = self.get(location, &[]).await?;
            match job.text("/state") {
                "COMPLETE" => {
                    self.pass_on_warnings(&job);
                    return Ok(None);
                }
                "FAILED" => {
                    self.pass_on_warnings(&job);
                    return Ok(Some(job));
                }
                _ if pace.pause().await => {}
                _ => {
                    return Err(Error::Message(format!(
                        "Job ({}) polling timeout has been reached. The operation may still be running on the CF \
                         instance. Your CF operator may have more information.",
                        job.guid()
                    )));
                }
            }
        }
    }

    fn pass_on_warnings(&self, job: &Value) {
        for warning in job.items("/warnings") {
            self.ui.warn(warning.text("/detail"));
        }
    }
}

fn refusal(job: &Value) -> Option<Refusal> {
    let causes: Vec<Cause> = job.items("/errors").iter().map(Cause::parse).collect();
    (!causes.is_empty()).then_some(Refusal { status: 422, causes })
}
