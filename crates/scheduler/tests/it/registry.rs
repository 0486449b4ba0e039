//! The operator's registry settings: they hold for every build made after them, and reach every cell at once.

use std::time::Duration;

use model::RegistrySettings;
use testkit::docker_registry::Guard;
use testkit::made_up::{config, noise};

use crate::fixture::House;
use crate::staging::Yard;

fn deny(rule: &str) -> RegistrySettings {
    RegistrySettings {
        deny: vec![rule.to_owned()],
        ..RegistrySettings::default()
    }
}

#[tokio::test]
async fn a_change_reaches_cells_at_once_and_again_when_they_come_back() {
    let mut house = House::start().await;
    let none: Vec<String> = Vec::new();
    house
        .cell
        .until("heard the options", |cell| {
            cell.told_to_deny().first() == Some(&none)
        })
        .await;
    let before = std::time::Instant::now();
    house.set_registry(1, &deny("evil.example.org")).await;
    let told = |cell: &crate::cell::FakeCell| {
        let told = cell.told_to_deny();
        told.iter()
            .filter(|rules| rules.iter().any(|rule| rule == "evil.example.org"))
            .count()
    };
    house.cell.until("heard the rule", |cell| told(cell) == 1).await;
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    // A commit that is about something else is not told.
    house.land().await;
    house.served = None;
    house.served = Some(house.cell.serve(&house.socket("cell-0")));
    house.cell.until("heard it again", |cell| told(cell) == 2).await;
}

#[tokio::test]
async fn a_rule_stops_the_next_build_before_the_registry_hears_of_it() {
    let mut yard = Yard::new(&Guard::Open).await;
    let layers = [noise(1, 1000)];
    yard.push("shop", &config("amd64", &layers), &layers).await;
    yard.house.start_scheduler();
    let image = yard.image("shop:1");
    let build = yard.ask(&image, None).await;
    yard.droplet(&build).await;
    let rule = yard.image("shop");
    yard.house.set_registry(1, &deny(&rule)).await;
    let before = std::time::Instant::now();
    let build = yard.ask(&image, None).await;
    let error = yard.error(&build).await;
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    assert!(error.contains(&format!("deny rule {rule:?}")), "{error}");
    yard.house.set_registry(2, &RegistrySettings::default()).await;
    let build = yard.ask(&image, None).await;
    yard.droplet(&build).await;
}

#[tokio::test]
async fn root_is_refused_at_staging_when_the_operator_says_so() {
    let mut yard = Yard::new(&Guard::Open).await;
    let layers = [noise(1, 1000)];
    let mut rooted = config("amd64", &layers);
    for (name, user) in [("empty", ""), ("zero", "0:0"), ("app", "1000")] {
        rooted["config"]["User"] = user.into();
        yard.push(name, &rooted, &layers).await;
    }
    let settings = RegistrySettings {
        allow_root_user: Some(false),
        ..RegistrySettings::default()
    };
    yard.house.set_registry(1, &settings).await;
    yard.house.start_scheduler();
    for name in ["empty:1", "zero:1"] {
        let build = yard.ask(&yard.image(name), None).await;
        let error = yard.error(&build).await;
        assert!(
            error.starts_with(
                "StagingError - Attempting to run process as root user, which is not permitted: the image's user is root"
            ),
            "{error}"
        );
    }
    let build = yard.ask(&yard.image("app:1"), None).await;
    yard.droplet(&build).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_stop_builds_and_are_told() {
    let mut yard = Yard::new(&Guard::Open).await;
    let broken = RegistrySettings {
        insecure: vec!["https://x".to_owned()],
        ..RegistrySettings::default()
    };
    yard.house.set_registry(1, &broken).await;
    yard.house.start_scheduler();
    let build = yard.ask(&yard.image("shop:1"), None).await;
    let error = yard.error(&build).await;
    assert!(
        error.contains("must not have a scheme") && error.contains("ask the operator"),
        "{error}"
    );
}
