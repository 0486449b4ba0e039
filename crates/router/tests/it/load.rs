//! Many requests at once: every one is answered, connections are shared sparingly, nothing is left in flight.

use futures_util::future::join_all;

use crate::fixture::{App, Router};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_over_three_instances() {
    let router = Router::start().await;
    let apps = [
        App::saying("0").await,
        App::saying("1").await,
        App::saying("2").await,
    ];
    router.route("a.com", "", &apps.each_ref());
    for _ in 0..20 {
        let replies = join_all((0..51).map(|_| router.get("http://a.com/"))).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
    }
    for (index, app) in apps.iter().enumerate() {
        assert_eq!(app.hits(), 340, "round robin is even");
        assert!(
            app.connections() <= 60,
            "connections are used again: {}",
            app.connections()
        );
        let name = format!("app-{index}");
        router
            .until("nothing in flight", |r| r.table.in_flight(&name) == 0)
            .await;
    }
}
