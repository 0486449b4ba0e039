//! Manifests: many wishes about many apps in one YAML document. `cf push` sends one always.
//!
//! `document` reads and checks it, `apply` makes the world like it, `diff` tells what would change, `show` writes one.
//! Source: cloudfoundry/cloud_controller_ng:app/controllers/v3/space_manifests_controller.rb.

mod apply;
mod diff;
mod document;
mod show;

use crate::endpoint::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/v3/spaces/{guid}/actions/apply_manifest", apply::apply),
        Endpoint::post("/v3/spaces/{guid}/manifest_diff", diff::diff),
        Endpoint::get("/v3/apps/{guid}/manifest", show::show),
    ]
}
