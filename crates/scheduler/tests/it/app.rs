//! Rows as the API writes them.

use prost::Message;
use store::{
    Noun, Query, app, desired_lrp, destination, domain, feature_flag, new_guid, org, process, route, space,
};
use wire::v1::{AppIdentity, Image, InstanceSpec};

use crate::fixture::House;

/// An app with one web process and one route, `NAME.apps.example`.
pub struct App {
    pub guid: String,
}

impl House {
    pub async fn insert<E: Noun>(&self, row: E::Row) -> E::Row {
        let tx = self.store.write().await.unwrap();
        let row = tx.insert::<E>(row).await.unwrap();
        tx.commit().await.unwrap();
        row
    }

    pub async fn set_docker(&self, enabled: bool) {
        let tx = self.store.write().await.unwrap();
        tx.delete::<feature_flag::Entity>("diego_docker").await.unwrap();
        let row = feature_flag::Model {
            id: 0,
            guid: "diego_docker".to_owned(),
            created_at: 0,
            updated_at: 0,
            enabled,
            changed: true,
            custom_error_message: None,
        };
        tx.insert::<feature_flag::Entity>(row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Organization, space and domain.
    pub async fn land(&self) {
        let times = (0, 0, 0);
        self.insert::<org::Entity>(org::Model {
            id: times.0,
            guid: "org".to_owned(),
            created_at: times.1,
            updated_at: times.2,
            name: "acme".to_owned(),
            suspended: false,
            quota_guid: "default".to_owned(),
        })
        .await;
        self.insert::<space::Entity>(space::Model {
            id: 0,
            guid: "space".to_owned(),
            created_at: 0,
            updated_at: 0,
            name: "dev".to_owned(),
            org_guid: "org".to_owned(),
            ssh_allowed: true,
        })
        .await;
        for (guid, name, internal) in [
            ("public", "apps.example", false),
            ("internal", "apps.internal", true),
        ] {
            self.insert::<domain::Entity>(domain::Model {
                id: 0,
                guid: guid.to_owned(),
                created_at: 0,
                updated_at: 0,
                name: name.to_owned(),
                internal,
                org_guid: None,
            })
            .await;
        }
        self.set_docker(true).await;
    }

    pub async fn app(&self, name: &str, instances: i64) -> App {
        let guid = new_guid();
        self.insert::<app::Entity>(app_row(&guid, name)).await;
        self.insert::<process::Entity>(process_row(&guid, instances))
            .await;
        self.map(&guid, name, "public").await;
        App { guid }
    }

    /// A route `NAME.DOMAIN` to the app.
    pub async fn map(&self, app: &str, name: &str, domain: &str) {
        let route = self
            .insert::<route::Entity>(route::Model {
                id: 0,
                guid: new_guid(),
                created_at: 0,
                updated_at: 0,
                host: name.to_owned(),
                path: String::new(),
                domain_guid: domain.to_owned(),
                space_guid: "space".to_owned(),
                options: "{}".to_owned(),
            })
            .await;
        self.insert::<destination::Entity>(destination::Model {
            id: 0,
            guid: new_guid(),
            created_at: 0,
            updated_at: 0,
            route_guid: route.guid,
            app_guid: app.to_owned(),
            process_type: "web".to_owned(),
            port: None,
            protocol: "http1".to_owned(),
        })
        .await;
    }

    /// Starts or restarts the app, as the API does: a new version.
    pub async fn start_app(&self, app: &App) -> String {
        let version = new_guid();
        let tx = self.store.write().await.unwrap();
        let of_app = Query::new().eq(desired_lrp::Column::AppGuid, &app.guid);
        tx.delete_where::<desired_lrp::Entity>(of_app).await.unwrap();
        let process = process::Model {
            version: version.clone(),
            ..tx.get::<process::Entity>(&app.guid).await.unwrap()
        };
        let process = tx.update::<process::Entity>(process).await.unwrap();
        let text: String = spec(&process)
            .encode_to_vec()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let row = desired_lrp::Model {
            id: 0,
            guid: version.clone(),
            created_at: 0,
            updated_at: 0,
            process_guid: process.guid,
            app_guid: app.guid.clone(),
            lifecycle: "docker".to_owned(),
            memory_mb: process.memory_mb,
            disk_mb: process.disk_mb,
            spec_sealed: self.sealer.seal(&text, &version),
        };
        tx.insert::<desired_lrp::Entity>(row).await.unwrap();
        tx.commit().await.unwrap();
        version
    }

    pub async fn stop_app(&self, app: &App) {
        let tx = self.store.write().await.unwrap();
        let of_app = Query::new().eq(desired_lrp::Column::AppGuid, &app.guid);
        tx.delete_where::<desired_lrp::Entity>(of_app).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn scale(&self, app: &App, instances: i64) {
        let tx = self.store.write().await.unwrap();
        let process = tx.get::<process::Entity>(&app.guid).await.unwrap();
        let process = process::Model { instances, ..process };
        tx.update::<process::Entity>(process).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Land, an app that runs in all its instances, and its guid.
    pub async fn running_app(&self, instances: i64) -> App {
        self.land().await;
        let app = self.app("shop", instances).await;
        self.start_app(&app).await;
        self.run_all(usize::try_from(instances).unwrap()).await;
        app
    }

    /// Waits for so many instances to start, and makes them run.
    pub async fn run_all(&self, instances: usize) {
        let count = move |cell: &crate::cell::FakeCell| {
            cell.run_all();
            cell.in_phase(wire::v1::InstancePhase::Running).len() == instances
        };
        self.cell
            .until(&format!("ran {instances} instances"), count)
            .await;
        self.all_in("RUNNING", instances).await;
    }
}

pub fn app_row(guid: &str, name: &str) -> app::Model {
    app::Model {
        id: 0,
        guid: guid.to_owned(),
        created_at: 0,
        updated_at: 0,
        name: name.to_owned(),
        space_guid: "space".to_owned(),
        state: "STARTED".to_owned(),
        lifecycle: "docker".to_owned(),
        droplet_guid: None,
        env_sealed: String::new(),
        ssh_enabled: true,
        revisions_enabled: false,
    }
}

pub fn process_row(app: &str, instances: i64) -> process::Model {
    process::Model {
        id: 0,
        guid: app.to_owned(),
        created_at: 0,
        updated_at: 0,
        app_guid: app.to_owned(),
        kind: "web".to_owned(),
        version: new_guid(),
        command: None,
        run_as: None,
        instances,
        memory_mb: 100,
        disk_mb: 100,
        log_rate_limit: -1,
        health_type: "port".to_owned(),
        health_endpoint: None,
        health_timeout: None,
        health_invocation_timeout: None,
        health_interval: None,
        readiness_type: "process".to_owned(),
        readiness_endpoint: None,
        readiness_invocation_timeout: None,
        readiness_interval: None,
    }
}

fn spec(process: &process::Model) -> InstanceSpec {
    InstanceSpec {
        process_guid: process.guid.clone(),
        process_version: process.version.clone(),
        process_type: "web".to_owned(),
        app: Some(AppIdentity {
            app_guid: process.app_guid.clone(),
            space_guid: "space".to_owned(),
            ..AppIdentity::default()
        }),
        image: Some(Image {
            reference: "registry.example/shop:1".to_owned(),
            ..Image::default()
        }),
        argv: vec!["serve".to_owned()],
        ports: vec![8080],
        memory_mb: 100,
        disk_mb: 100,
        ..InstanceSpec::default()
    }
}
