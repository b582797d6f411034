//! The Ed25519 key that signs checkpoints, as PKCS#8 PEM: `CHECKPOINT_SIGNING_KEY`.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flowlet_verify::Hash;
use flowlet_verify::note::{self, PublishedKey};

/// The public half of the key that RFC 8037 prints, in hexadecimal.
const EXAMPLE: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

pub struct SigningKey(Ed25519KeyPair);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an Ed25519 private key in PKCS#8 PEM: `openssl genpkey -algorithm ed25519` makes one")]
pub struct InvalidSigningKey;

impl SigningKey {
    pub fn from_pem(pem: &str) -> Result<Self, InvalidSigningKey> {
        let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
        let body = body.and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"));
        let text: String = body.ok_or(InvalidSigningKey)?.split_ascii_whitespace().collect();
        let document = STANDARD.decode(text).map_err(|_| InvalidSigningKey)?;
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|_| InvalidSigningKey)?;
        Ok(Self(pair))
    }

    /// Whether everybody has it.
    pub fn is_example(&self) -> bool {
        let public = Hash::from_slice(self.0.public_key().as_ref());
        public.is_some_and(|public| public.to_string() == EXAMPLE)
    }

    pub fn published(&self) -> PublishedKey {
        note::published(self.0.public_key().as_ref())
    }

    pub fn sign(&self, text: &str) -> String {
        note::sign(text, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use flowlet_verify::Keys;

    use super::*;

    #[test]
    fn a_key_signs_what_its_published_half_verifies() {
        let document: Pkcs8V1Der = Ed25519KeyPair::generate().unwrap().as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(document.as_ref())
        );
        let key = SigningKey::from_pem(&pem).unwrap();
        let published = key.published();
        let keys = Keys::from_verifiers(std::iter::once(published.verifier.as_str())).unwrap();
        assert_eq!(note::open(&key.sign("text\n"), &keys), Ok("text\n"));
        for other in [
            "",
            "text",
            &pem.replace("PRIVATE", "PUBLIC"),
            &pem.replace('M', "N"),
        ] {
            assert!(SigningKey::from_pem(other).is_err(), "{other}");
        }
    }
}
