//! Tokens from mint to check: what is accepted, and everything that is not.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::keys::tests::key;
use crate::{ClientGrant, Life, Minted, Minter, RegistryAccess, SigningKey, Subject, UserGrant};

const ISSUER: &str = "https://uaa.example.org/oauth/token";
const TTL: Duration = Duration::from_secs(1200);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn life() -> Life {
    Life { now: now(), ttl: TTL }
}

fn minter() -> Minter {
    Minter::new(key(), ISSUER)
}

fn verifier() -> Verifier {
    Verifier::new([key().jwk()], ISSUER).unwrap()
}

fn ada() -> UserGrant {
    UserGrant {
        guid: "guid-ada".into(),
        name: "ada".into(),
        email: "ada@example.org".into(),
        origin: "uaa".into(),
        client_id: "cf".into(),
        grant_type: "password".into(),
        scopes: vec!["cloud_controller.read".into(), "openid".into()],
        auth_time: now(),
        rev_sig: "abc".into(),
    }
}

fn robot() -> ClientGrant {
    ClientGrant {
        id: "robot".into(),
        scopes: vec!["cloud_controller.admin".into()],
        rev_sig: "x".into(),
    }
}

/// The claims as a client sees them, unchecked.
fn seen(minted: &Minted) -> serde_json::Value {
    let part = minted.token.expose().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_users_token_names_the_user() {
    let minted = minter().mint_user(&ada(), life());
    assert_eq!(minted.expires_in, 1200);
    for form in ["", "bearer ", "Bearer ", "BEARER  "] {
        let identity = verifier()
            .verify(&format!("{form}{}", minted.token.expose()), now())
            .unwrap();
        let guid = "guid-ada".into();
        assert_eq!(
            identity.subject,
            Subject::User {
                guid,
                name: "ada".into(),
                origin: "uaa".into()
            }
        );
        assert_eq!(identity.scopes, ["cloud_controller.read", "openid"]);
        assert_eq!(
            (identity.guid(), identity.name(), identity.client_id.as_str()),
            ("guid-ada".into(), "ada", "cf")
        );
    }
    let mut claims = seen(&minted);
    assert_eq!(claims["jti"], minted.jti);
    claims.as_object_mut().unwrap().remove("jti");
    let wanted = json!({
        "sub": "guid-ada", "scope": ["cloud_controller.read", "openid"], "client_id": "cf", "cid": "cf", "azp": "cf",
        "grant_type": "password", "user_id": "guid-ada", "origin": "uaa", "user_name": "ada",
        "email": "ada@example.org", "auth_time": 1_800_000_000, "rev_sig": "abc", "iat": 1_800_000_000,
        "exp": 1_800_001_200, "iss": ISSUER, "zid": "uaa", "aud": ["cf", "cloud_controller", "openid"],
        "revocable": false,
    });
    assert_eq!(claims, wanted);
}

#[test]
fn a_clients_token_names_no_user_not_even_with_null() {
    let minted = minter().mint_client(&robot(), life());
    let claims = seen(&minted);
    for absent in ["user_name", "user_id", "origin", "email", "auth_time"] {
        assert!(claims.get(absent).is_none(), "{absent}");
    }
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!("robot"), &json!("robot"))
    );
    assert_eq!(claims["grant_type"], "client_credentials");
    let identity = verifier().verify(minted.token.expose(), now()).unwrap();
    assert_eq!(identity.subject, Subject::Client { id: "robot".into() });
    assert!(identity.is_admin());
}

#[test]
fn kinds_are_not_interchangeable() {
    let access = minter().mint_user(&ada(), life()).token;
    let refresh = minter().mint_refresh(&ada(), life()).token;
    let password = minter()
        .mint_registry(&"space".into(), RegistryAccess::Pull, life())
        .token;
    let v = verifier();
    let accepted = [&access, &refresh, &password].map(|token| {
        let token = token.expose();
        [
            v.verify(token, now()).err(),
            v.verify_refresh(token, now()).err(),
            v.verify_registry(token, now()).err(),
        ]
    });
    let no = Some(TokenError::WrongKind);
    assert_eq!(accepted, [[None, no, no], [no, None, no], [no, no, None]]);
}

#[test]
fn a_refresh_token_carries_the_grant() {
    let claims = verifier()
        .verify_refresh(minter().mint_refresh(&ada(), life()).token.expose(), now())
        .unwrap();
    assert_eq!(claims.user_id.as_deref(), Some("guid-ada"));
    assert_eq!(
        (claims.client_id.as_str(), claims.rev_sig.as_str()),
        ("cf", "abc")
    );
    assert_eq!(
        (claims.scope, claims.auth_time),
        (ada().scopes, Some(1_800_000_000))
    );
}

#[test]
fn a_registry_password_opens_one_space() {
    for access in [RegistryAccess::Pull, RegistryAccess::PullPush] {
        let password = minter().mint_registry(&"space-1".into(), access, life()).token;
        let grant = verifier().verify_registry(password.expose(), now()).unwrap();
        assert_eq!(
            grant,
            RegistryGrant {
                space: "space-1".into(),
                access
            }
        );
    }
}

#[test]
fn tokens_end_after_a_small_leeway() {
    let token = minter().mint_user(&ada(), life()).token;
    let last = now() + TTL + Duration::from_secs(LEEWAY_SECS - 1);
    assert!(verifier().verify(token.expose(), last).is_ok());
    let past = verifier().verify(token.expose(), last + Duration::from_secs(1));
    assert_eq!(past.unwrap_err(), TokenError::Expired);
}

#[test]
fn strangers_are_refused() {
    let token = minter().mint_user(&ada(), life()).token.into_exposed();
    let other = Verifier::new([key().jwk()], "https://elsewhere/oauth/token").unwrap();
    assert_eq!(other.verify(&token, now()).unwrap_err(), TokenError::WrongIssuer);
    let keyless = Verifier::new([], ISSUER).unwrap();
    assert_eq!(keyless.verify(&token, now()).unwrap_err(), TokenError::UnknownKey);
    // A second key that claims the first one's id.
    let thief = SigningKey::generate().unwrap();
    let forged = Verifier::new(
        [&Jwk {
            kid: key().kid().to_owned(),
            ..thief.jwk().clone()
        }],
        ISSUER,
    )
    .unwrap();
    assert_eq!(
        forged.verify(&token, now()).unwrap_err(),
        TokenError::BadSignature
    );
    let both = Verifier::new([thief.jwk(), key().jwk()], ISSUER).unwrap();
    assert!(both.verify(&token, now()).is_ok());
}

#[test]
fn the_token_does_not_choose_the_algorithm() {
    let token = minter().mint_user(&ada(), life()).token.into_exposed();
    let rest = token.split_once('.').unwrap().1;
    let (payload, _) = rest.split_once('.').unwrap();
    for alg in ["none", "HS256", "RS512", "EdDSA"] {
        let header =
            URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": key().kid(), "typ": "JWT"}).to_string());
        for forged in [format!("{header}.{rest}"), format!("{header}.{payload}.")] {
            assert_eq!(
                verifier().verify(&forged, now()).unwrap_err(),
                TokenError::Malformed,
                "{alg}"
            );
        }
    }
}

#[test]
fn changed_claims_do_not_pass() {
    let minted = minter().mint_user(&ada(), life());
    let mut claims = seen(&minted);
    claims["scope"] = json!(["cloud_controller.admin"]);
    let mut parts: Vec<&str> = minted.token.expose().split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    parts[1] = &payload;
    assert_eq!(
        verifier().verify(&parts.join("."), now()).unwrap_err(),
        TokenError::BadSignature
    );
}

#[test]
fn garbage_is_malformed_and_other_schemes_are_named() {
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    for bad in ["", " ", "bearer ", "x", "a.b.c", "..", "bearer a.b", &long] {
        assert_eq!(
            verifier().verify(bad, now()).unwrap_err(),
            TokenError::Malformed,
            "{}",
            bad.len()
        );
    }
    assert_eq!(
        verifier().verify("Basic Y2Y6", now()).unwrap_err(),
        TokenError::NotBearer
    );
}

#[test]
fn a_user_named_by_halves_is_no_identity() {
    let full = seen(&minter().mint_user(&ada(), life()));
    for missing in ["user_id", "user_name", "origin"] {
        let mut claims = full.clone();
        claims.as_object_mut().unwrap().remove(missing);
        let token = key().sign("JWT", &claims);
        assert_eq!(
            verifier().verify(&token, now()).unwrap_err(),
            TokenError::Malformed,
            "{missing}"
        );
    }
    let marked = json!({"aud": ["slipway:refresh"]});
    let mut claims = full;
    claims["aud"] = marked["aud"].clone();
    assert_eq!(
        verifier().verify(&key().sign("JWT", &claims), now()).unwrap_err(),
        TokenError::WrongKind
    );
}

#[test]
fn only_rs256_keys_make_a_verifier() {
    let jwk = key().jwk().clone();
    for bad in [
        Jwk {
            alg: "HS256".into(),
            ..jwk.clone()
        },
        Jwk {
            kty: "oct".into(),
            ..jwk.clone()
        },
        Jwk { n: "!".into(), ..jwk },
    ] {
        assert!(matches!(
            Verifier::new([&bad], ISSUER).unwrap_err(),
            KeyError::NotJwk { .. }
        ));
    }
}
