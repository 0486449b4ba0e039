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
            let begun = std::time::Instant::now();
            let resolved = async {
                let reference =
                    Reference::parse(image, &self.0.default_registry()).map_err(|error| error.to_string())?;
                let platform = model::Platform::host();
                let resolved = self.0.resolve(&reference, credentials.as_ref(), &platform).await;
                resolved
                    .map(|resolved| format!("{} at {}", reference.canonical(), resolved.manifest_digest))
                    .map_err(|error| Report(&error).to_string())
            };
            let (outcome, detail) = match resolved.await {
                Ok(detail) => (Outcome::Ok, detail),
                Err(detail) => (Outcome::Failed, detail),
            };
            Ok(vec![Step {
                name: "manifest".to_owned(),
                outcome,
                detail,
                ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            }])
        })
    }
}
