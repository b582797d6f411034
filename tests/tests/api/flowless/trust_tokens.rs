//! Trust tokens, verified as PASETO's specification says, without the library that makes them.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration};
use serde_json::{Value, json};

use super::bridge::VALIDATE;
use super::{Program, SECRET, register, start, text};

const HEADER: &str = "v4.public.";

/// PASETO's pre-authentication encoding.
fn encoded(pieces: &[&[u8]]) -> Vec<u8> {
    let length = |number: usize| u64::try_from(number).unwrap().to_le_bytes();
    let mut bytes = length(pieces.len()).to_vec();
    for piece in pieces {
        bytes.extend(length(piece.len()));
        bytes.extend(*piece);
    }
    bytes
}

/// The claims of a token that one of these keys has signed.
fn verify(token: &str, keys: &Value) -> Option<Value> {
    let (body, footer) = token.strip_prefix(HEADER)?.split_once('.')?;
    let (body, footer) = (
        URL_SAFE_NO_PAD.decode(body).ok()?,
        URL_SAFE_NO_PAD.decode(footer).ok()?,
    );
    let kid = serde_json::from_slice::<Value>(&footer).ok()?["kid"].clone();
    let key = keys["keys"].as_array()?.iter().find(|key| key["kid"] == kid)?;
    let key = URL_SAFE_NO_PAD
        .decode(key["public_key"].as_str()?.strip_prefix("k4.public.")?)
        .ok()?;
    let (message, signature) = body.split_at_checked(body.len().checked_sub(64)?)?;
    let signed = encoded(&[HEADER.as_bytes(), message, &footer, b""]);
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&signed, signature)
        .ok()?;
    serde_json::from_slice(message).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trust_token_tells_whose_session_it_is_to_whoever_has_the_public_key() {
    let platform = start().await;
    let program = Program::new(&platform);
    let registered = register(&program, "ada").await;
    let credential = text(&registered["session_id"]);
    let backend = program.with("x-bridge-secret", SECRET);
    let without = backend
        .post(VALIDATE, json!({ "session_id": credential }))
        .await
        .must_be(200);
    assert!(without.get("trust_token").is_none(), "{without}");
    let asked = json!({ "session_id": credential, "trust_token": true });
    let answer = backend.post(VALIDATE, asked).await.must_be(200);
    let keys = program
        .get("/.well-known/trust-token-keys.json")
        .await
        .must_be(200);
    let token = text(&answer["trust_token"]);
    let claims = verify(token, &keys).unwrap();
    assert_eq!(claims["user_id"], registered["user"]["id"]);
    assert_eq!(
        (&claims["email"], &claims["name"]),
        (&json!("ada@example.com"), &json!("ada"))
    );
    assert!(text(&claims["session_id"]).starts_with("sid_"), "{claims}");
    assert!(!claims.to_string().contains(credential));
    let moment = |name: &str| DateTime::parse_from_rfc3339(text(&claims[name])).unwrap();
    assert!(moment("exp") - moment("iat") <= Duration::minutes(5));

    // What was altered is signed by nobody.
    let (body, footer) = token.strip_prefix(HEADER).unwrap().split_once('.').unwrap();
    let mut altered = URL_SAFE_NO_PAD.decode(body).unwrap();
    altered[5] ^= 1;
    let altered = format!("{HEADER}{}.{footer}", URL_SAFE_NO_PAD.encode(altered));
    assert_eq!(verify(&altered, &keys), None);
    // It is no access token and no session.
    let bearer = platform.client().with_token(token).get("/api/v1/auth/me").await;
    bearer.must_be_problem(401, "invalid_token");
    let session = program.in_session(token).get("/auth/me").await;
    assert_eq!(session.status, 401, "{session}");
    platform.stop().await.unwrap();
}
