//! What the API asks of the image client: whether a document is sound, what it refuses, how fetching an image goes.

use std::future::Future;
use std::pin::Pin;

use api::registry::{Images, Login, Outcome, Step};
use base::Report;
use image::policy::Rules;
use image::{Client, Credentials, Reference};
use model::RegistrySettings;

/// An image client of the API's own: it obeys the settings that come with each question.
pub struct ImageKnowledge(pub Client);

impl Images for ImageKnowledge {
    fn check_settings(&self, settings: &RegistrySettings) -> Result<(), String> {
        Client::check_settings(settings).map_err(|error| Report(&error).to_string())
    }

    fn refusals(&self, settings: &RegistrySettings, images: &[String]) -> Vec<Option<String>> {
        // Stored settings were checked; should they be another version's, they refuse nothing here and all at staging.
        let Ok(rules) = Rules::new(settings) else {
            return vec![None; images.len()];
        };
        let default = settings.default_registry.as_deref().unwrap_or(image::HUB);
        let judge = |image: &String| {
            let reference = Reference::parse(image, default).ok()?;
            rules.judge(&reference).err().map(|refusal| refusal.to_string())
        };
        images.iter().map(judge).collect()
    }

    fn explain<'a>(
        &'a self,
        settings: &'a RegistrySettings,
        image: &'a str,
        login: Option<Login>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Step>, String>> + Send + 'a>> {
        Box::pin(async move {
            self.0
                .apply(settings.clone())
                .map_err(|error| Report(&error).to_string())?;
            let credentials = login.map(|login| Credentials {
                username: login.username,
                password: login.password.into_exposed(),
            });
            let platform = model::Platform::host();
            let steps = self.0.explain(image, credentials.as_ref(), &platform).await;
            Ok(steps.into_iter().map(step).collect())
        })
    }
}

fn step(step: image::Step) -> Step {
    Step {
        name: step.name.to_owned(),
        outcome: match step.outcome {
            image::Outcome::Ok => Outcome::Ok,
            image::Outcome::Failed => Outcome::Failed,
            image::Outcome::Skipped => Outcome::Skipped,
        },
        detail: step.detail,
        ms: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
    }
}
