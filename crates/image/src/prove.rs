//! Whether somebody may read what is cached here already.

use model::Digest;

use crate::client::Client;
use crate::credentials::Credentials;
use crate::error::ResolveError;
use crate::reference::Reference;
use crate::session::Call;
use crate::transport::Verb;

impl Client {
    /// Asks the reference's registry whether these credentials may read this blob of this repository, without fetching
    /// it. A registry can only vouch for what itself holds: the answer means something for a layer that was fetched
    /// from the same registry and repository, and nothing for one that came from elsewhere.
    pub async fn prove(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        blob: &Digest,
    ) -> Result<(), ResolveError> {
        let call = Call {
            reference: reference.clone(),
            credentials: credentials.cloned(),
            path: format!("blobs/{blob}"),
            what: format!("blob {blob} of {}", reference.name()),
            accept: "*/*",
            digest: None,
        };
        let session = self.session();
        let mut retries = session.retries();
        loop {
            match session.try_each(&call, Verb::Head, 0).await {
                Ok(_) => return Ok(()),
                Err(failure) => retries.pause(failure).await?,
            }
        }
    }
}
