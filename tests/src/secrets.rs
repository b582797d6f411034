//! What a stack of services must keep to itself: the key that signs access tokens, the secret of calls between services,
//! and the passwords of the database roles. Roles belong to a whole PostgreSQL cluster, so there is one set per cluster.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::service::Service;

#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// Ed25519 private key, PKCS#8 PEM.
    pub signing_key: String,
    /// The same, of `CHECKPOINT_SIGNING_KEY`. A file from before it existed has none.
    #[serde(default)]
    pub checkpoint_signing_key: String,
    pub service_secret: String,
    /// `FIELD_KEYS` and `BLIND_INDEX_KEYS` of auth-service. A file from before they existed has none.
    #[serde(default)]
    pub field_keys: String,
    #[serde(default)]
    pub blind_index_keys: String,
    /// `WEBHOOK_KEYS` of transactions-service, likewise.
    #[serde(default)]
    pub webhook_keys: String,
    /// `ORIGIN_KEYS` of ml-service, likewise.
    #[serde(default)]
    pub origin_keys: String,
    passwords: BTreeMap<String, String>,
}

impl Secrets {
    pub fn generate() -> anyhow::Result<Self> {
        let schemas = Service::ALL.into_iter().filter_map(Service::schema);
        let roles = schemas.flat_map(|schema| [format!("{schema}_owner"), format!("{schema}_runtime")]);
        Ok(Self {
            signing_key: new_signing_key()?,
            checkpoint_signing_key: new_signing_key()?,
            service_secret: random_text()?,
            field_keys: new_field_key(1)?,
            blind_index_keys: new_field_key(1)?,
            webhook_keys: new_field_key(1)?,
            origin_keys: new_field_key(1)?,
            passwords: roles
                .map(|role| Ok((role, random_text()?)))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Reads the file, or makes it with new secrets; only its owner can read it.
    pub fn kept_in(file: &Path) -> anyhow::Result<Self> {
        let secrets = match fs::read_to_string(file) {
            Ok(text) => {
                let damaged = || format!("{} is damaged", file.display());
                let mut kept: Self = serde_json::from_str(&text).with_context(damaged)?;
                let missing = [
                    &mut kept.field_keys,
                    &mut kept.blind_index_keys,
                    &mut kept.webhook_keys,
                    &mut kept.origin_keys,
                ];
                let missing: Vec<&mut String> = missing.into_iter().filter(|keys| keys.is_empty()).collect();
                let no_signing_key = kept.checkpoint_signing_key.is_empty();
                if missing.is_empty() && !no_signing_key {
                    return Ok(kept);
                }
                for keys in missing {
                    *keys = new_field_key(1)?;
                }
                if no_signing_key {
                    kept.checkpoint_signing_key = new_signing_key()?;
                }
                kept
            }
            Err(_) => Self::generate()?,
        };
        let partial = file.with_extension("partial");
        drop(fs::remove_file(&partial));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut written = options.open(&partial)?;
        written.write_all(serde_json::to_string_pretty(&secrets)?.as_bytes())?;
        written.sync_all()?;
        fs::rename(&partial, file)?;
        Ok(secrets)
    }

    pub fn password(&self, role: &str) -> anyhow::Result<&str> {
        let password = self.passwords.get(role);
        password
            .map(String::as_str)
            .with_context(|| format!("there is no role {role}"))
    }
}

/// A new key for signing access tokens, as `openssl genpkey -algorithm ed25519` would write it.
pub fn new_signing_key() -> anyhow::Result<String> {
    let der: Pkcs8V1Der = Ed25519KeyPair::generate()?.as_der()?;
    let text = STANDARD.encode(der.as_ref());
    Ok(format!(
        "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
    ))
}

/// A new key with a number, as `FIELD_KEYS` and `BLIND_INDEX_KEYS` list them.
pub fn new_field_key(number: u16) -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(format!("{number}:{}", STANDARD.encode(bytes)))
}

/// 256 random bits in hexadecimal, which needs no escaping anywhere.
pub fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_from_before_lacks_is_made_once_and_kept() {
        let file = std::env::temp_dir().join(format!("flowlet-kept-{}.json", random_text().unwrap()));
        let mut old = serde_json::to_value(Secrets::generate().unwrap()).unwrap();
        let old = old.as_object_mut().unwrap();
        for new in [
            "field_keys",
            "blind_index_keys",
            "checkpoint_signing_key",
            "webhook_keys",
            "origin_keys",
        ] {
            old.remove(new).unwrap();
        }
        fs::write(&file, serde_json::to_string(&old).unwrap()).unwrap();
        let (first, second) = (Secrets::kept_in(&file).unwrap(), Secrets::kept_in(&file).unwrap());
        fs::remove_file(&file).unwrap();
        assert_eq!(first.signing_key, old["signing_key"]);
        let made = |secrets: Secrets| {
            [
                secrets.field_keys,
                secrets.blind_index_keys,
                secrets.webhook_keys,
                secrets.origin_keys,
            ]
        };
        let (first, second) = (made(first), made(second));
        assert!(first.iter().all(|keys| keys.starts_with("1:")));
        assert_eq!(first, second);
    }
}
