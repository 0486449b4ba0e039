//! The first user and client, and that the operator's word wins.

use auth::Secret;
use store::{client, user};
use uaa::SeedError;

use crate::server::{ADMIN_PASSWORD, Server, access, refresh_of, refused};

#[tokio::test]
async fn seeding_again_changes_nothing() {
    let server = Server::start().await;
    let rows = async || {
        let tx = server.store.read().await.unwrap();
        let users = tx.all(store::Query::<user::Entity>::new()).await.unwrap();
        (
            users,
            tx.all(store::Query::<client::Entity>::new()).await.unwrap(),
        )
    };
    let before = rows().await;
    assert_eq!((before.0.len(), before.1.len()), (1, 1));
    assert!(before.0.iter().all(|user| user.known_to_api));
    uaa::seed(&server.store, Secret::new(ADMIN_PASSWORD))
        .await
        .unwrap();
    assert_eq!(rows().await, before);
    server.stop().await;
}

#[tokio::test]
async fn another_admin_password_replaces_the_stored_one() {
    let server = Server::start().await;
    let login = server.login("admin", ADMIN_PASSWORD).await;
    uaa::seed(&server.store, Secret::new("other")).await.unwrap();
    refused(
        &server.login("admin", ADMIN_PASSWORD).await,
        401,
        "unauthorized",
        "Bad credentials",
    );
    refused(
        &server.refresh(&refresh_of(&login)).await,
        401,
        "invalid_token",
        "revoked",
    );
    access(&server.login("admin", "other").await);
    server.stop().await;
}

#[tokio::test]
async fn useless_passwords_are_refused() {
    let server = Server::start().await;
    let empty = uaa::seed(&server.store, Secret::new("")).await;
    assert!(matches!(empty, Err(SeedError::Empty)));
    let long = uaa::seed(&server.store, Secret::new("x".repeat(2000))).await;
    assert!(matches!(long, Err(SeedError::Password(_))));
    access(&server.login("admin", ADMIN_PASSWORD).await);
    server.stop().await;
}
