//! What the operator says: registry settings that hold at once and after a restart, certificates in every container.

use wire::v1::{ConfigureRequest, ImagesRequest, InstancePhase};

use crate::world::{TRUSTED, check, story};

fn settings(version: i64, text: String) -> ConfigureRequest {
    ConfigureRequest {
        registry_settings: text,
        version,
    }
}

#[test]
fn a_rule_holds_at_once_and_after_a_kill_and_touches_nothing_that_runs() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let host = image.reference.split('/').next().unwrap().to_owned();
        let running = world.script(image.clone(), "exec httpd -f -p 8080 -h /www");
        let running = world.run(&running).await;
        world.until_phase(&running, InstancePhase::Running).await;

        let text = format!(r#"{{"insecure": ["{host}"], "deny": ["{host}/other"]}}"#);
        world.client().configure(settings(1, text)).await.unwrap();
        for round in ["at once", "after a kill"] {
            let mut other = world.script(image.clone(), "exec sleep 1000");
            let wanted = other.image.as_mut().unwrap();
            wanted.reference = format!("{host}/other:1");
            // A layer that is not here.
            wanted.layers[0].diff_id = format!("sha256:{}", "ab".repeat(32));
            let guid = world.run(&other).await;
            let exit = world.end_of(&guid).await;
            assert!(exit.not_app_fault, "{round}: {exit:?}");
            assert!(
                exit.description.contains(&format!("deny rule \"{host}/other\"")),
                "{round}: {exit:?}"
            );
            world.kill_daemon().await;
            world.open().await;
        }
        world.until_phase(&running, InstancePhase::Running).await;

        let broken = settings(2, r#"{"insecure": ["https://x"]}"#.to_owned());
        let refused = world.client().configure(broken).await.unwrap_err();
        assert!(refused.message().contains("must not have a scheme"), "{refused}");
    });
}

#[test]
fn images_are_told_with_their_users() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image.clone(), "exec httpd -f -p 8080 -h /www");
        spec.health_check = Some(check("port", ""));
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        let told = world
            .client()
            .images(ImagesRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!((told.cell_id.as_str(), told.images.len()), ("cell-1", 1));
        let kept = &told.images[0];
        assert_eq!(
            (&kept.reference, &kept.manifest_digest),
            (&image.reference, &image.manifest_digest)
        );
        assert_eq!(kept.instance_guids, [guid]);
        assert_eq!(kept.layers as usize, image.layers.len());
        assert!(
            kept.bytes > 0 && kept.bytes == kept.exclusive_bytes && kept.last_used_ns > 0,
            "{kept:?}"
        );
    });
}

#[test]
fn containers_have_the_operators_certificates_read_only() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script = "cat $CF_SYSTEM_CERT_PATH/trusted-ca-1.crt; \
                      echo x > $CF_SYSTEM_CERT_PATH/mine || echo read-only; \
                      echo $(busybox id -u) finds $CF_SYSTEM_CERT_PATH; exec sleep 1000";
        for (round, (user, uid)) in (1..).zip([("", 0), ("app", 1000)]) {
            let mut spec = world.script(image.clone(), script);
            spec.user = user.to_owned();
            let guid = world.run(&spec).await;
            world.until_phase(&guid, InstancePhase::Running).await;
            world
                .until_logged(&format!("OUT {uid} finds /etc/cf-system-certificates"))
                .await;
            let texts = world.texts();
            for line in TRUSTED.lines().chain(["read-only"]) {
                let found = texts.iter().filter(|text| text.ends_with(&format!("OUT {line}")));
                assert_eq!(found.count(), round, "{user:?}: {texts:?}");
            }
        }
    });
}
