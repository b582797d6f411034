//! An authenticator in software: what a phone or a security key does when a browser asks it for a passkey (WebAuthn). A test
//! decides whether it verifies its user, and can make it misbehave.

use anyhow::{Context, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const ATTESTED_CREDENTIAL: u8 = 0x40;

/// With one passkey, or none yet.
pub struct Authenticator {
    /// The page that it is used on.
    pub origin: String,
    /// Whether its user proves to be its user.
    pub verifies_user: bool,
    /// How often it has signed.
    pub counter: u32,
    key: EcdsaKeyPair,
    credential_id: Vec<u8>,
    user_handle: String,
}

impl Authenticator {
    pub fn new(origin: &str) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
        let mut credential_id = vec![0; 16];
        aws_lc_rs::rand::fill(&mut credential_id)?;
        Ok(Self {
            origin: origin.to_owned(),
            verifies_user: true,
            counter: 0,
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref())?,
            credential_id,
            user_handle: String::new(),
        })
    }

    /// `navigator.credentials.create()`.
    pub fn create(&mut self, options: &Value) -> anyhow::Result<Value> {
        let options = options.get("publicKey").context("no publicKey")?;
        let selection = options.get("authenticatorSelection");
        let resident = selection
            .and_then(|it| it.get("residentKey"))
            .and_then(Value::as_str);
        ensure!(
            resident == Some("required"),
            "it would not find the passkey by itself"
        );
        let user = options.get("user").and_then(|user| user.get("id")?.as_str());
        user.context("no user.id")?.clone_into(&mut self.user_handle);
        let client_data = self.client_data("webauthn.create", options)?;
        let rp_id = options.get("rp").and_then(|rp| rp.get("id")?.as_str());
        let mut data = self.data(rp_id.context("no rp.id")?, ATTESTED_CREDENTIAL);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.credential_id.len())?.to_be_bytes());
        data.extend(&self.credential_id);
        data.extend(self.public_key()?);
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        attestation.extend(u16::try_from(data.len())?.to_be_bytes());
        attestation.extend(data);
        Ok(self.credential(json!({
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
            "attestationObject": URL_SAFE_NO_PAD.encode(attestation),
            "transports": ["internal"],
        })))
    }

    /// `navigator.credentials.get()`.
    pub fn get(&mut self, options: &Value) -> anyhow::Result<Value> {
        let options = options.get("publicKey").context("no publicKey")?;
        let client_data = self.client_data("webauthn.get", options)?;
        let rp_id = options.get("rpId").and_then(Value::as_str).context("no rpId")?;
        self.counter += 1;
        let data = self.data(rp_id, 0);
        let signed = [data.as_slice(), digest(&SHA256, client_data.as_bytes()).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed)?;
        Ok(self.credential(json!({
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "signature": URL_SAFE_NO_PAD.encode(signature),
            "userHandle": self.user_handle,
        })))
    }

    fn client_data(&self, kind: &str, options: &Value) -> anyhow::Result<String> {
        let challenge = options.get("challenge").context("no challenge")?;
        let client_data =
            json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false });
        Ok(client_data.to_string())
    }

    fn data(&self, rp_id: &str, flags: u8) -> Vec<u8> {
        let verified = if self.verifies_user { USER_VERIFIED } else { 0 };
        let mut data = digest(&SHA256, rp_id.as_bytes()).as_ref().to_vec();
        data.push(USER_PRESENT | verified | flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// In COSE: an elliptic-curve key for ES256 on P-256.
    fn public_key(&self) -> anyhow::Result<Vec<u8>> {
        let point = self.key.public_key().as_ref();
        let (x, y) = (
            point.get(1..33).context("no x")?,
            point.get(33..65).context("no y")?,
        );
        // {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        let head: &[u8] = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20";
        Ok([head, x, b"\x22\x58\x20", y].concat())
    }

    fn credential(&self, response: Value) -> Value {
        let id = URL_SAFE_NO_PAD.encode(&self.credential_id);
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "extensions": {} })
    }
}
