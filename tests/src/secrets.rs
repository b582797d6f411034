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
    pub service_secret: String,
    passwords: BTreeMap<String, String>,
}

impl Secrets {
    pub fn generate() -> anyhow::Result<Self> {
        let schemas = Service::ALL.into_iter().filter_map(Service::schema);
        let roles = schemas.flat_map(|schema| [format!("{schema}_owner"), format!("{schema}_runtime")]);
        Ok(Self {
            signing_key: new_signing_key()?,
            service_secret: random_text()?,
            passwords: roles
                .map(|role| Ok((role, random_text()?)))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Reads the file, or makes it with new secrets; only its owner can read it.
    pub fn kept_in(file: &Path) -> anyhow::Result<Self> {
        if let Ok(text) = fs::read_to_string(file) {
            return serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()));
        }
        let secrets = Self::generate()?;
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

/// 256 random bits in hexadecimal, which needs no escaping anywhere.
pub fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
