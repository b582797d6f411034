//! The Ed25519 keys that sign access tokens, as PKCS#8 PEM.

use anyhow::Context;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

/// The `kid` of the key that RFC 8037 prints.
pub const EXAMPLE_KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

/// A key that signs, and its public half with the `kid` that names it.
pub struct SigningKey {
    pub private: EncodingKey,
    pub public: Jwk,
    pub kid: String,
}

impl SigningKey {
    pub fn from_pem(pem: &str) -> anyhow::Result<Self> {
        let private = EncodingKey::from_ed_pem(pem.as_bytes())
            .context("a signing key is not an Ed25519 private key in PKCS#8 PEM")?;
        let pair = Ed25519KeyPair::from_pkcs8(private.as_bytes())
            .map_err(|error| anyhow::anyhow!("a signing key is not usable: {error}"))?;
        let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
        let mut public = Jwk::from_decoding_key(&public, Some(Algorithm::EdDSA))?;
        // RFC 7638: the key names itself, so two replicas never disagree.
        let kid = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { private, public, kid })
    }
}

/// A new key, as `SIGNING_KEY` takes it.
pub fn generate_pem() -> anyhow::Result<String> {
    // Version 1 of PKCS#8, without the public half, is what every tool reads.
    let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("no key could be generated"))?;
    Ok(pem_of(document.as_ref()))
}

fn pem_of(document: &[u8]) -> String {
    let text = STANDARD.encode(document);
    let (mut pem, mut rest) = (String::from("-----BEGIN PRIVATE KEY-----\n"), text.as_str());
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.extend([line, "\n"]);
        rest = tail;
    }
    pem + "-----END PRIVATE KEY-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_loads_and_no_two_are_the_same() {
        let (one, other) = (generate_pem().unwrap(), generate_pem().unwrap());
        assert_ne!(
            SigningKey::from_pem(&one).unwrap().kid,
            SigningKey::from_pem(&other).unwrap().kid
        );
    }

    #[test]
    fn both_versions_of_pkcs8_load_as_the_same_key() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let kid = |document: &[u8]| SigningKey::from_pem(&pem_of(document)).unwrap().kid;
        assert_eq!(
            kid(pair.to_pkcs8v1().unwrap().as_ref()),
            kid(pair.to_pkcs8().unwrap().as_ref())
        );
    }

    /// The key and the thumbprint of RFC 8037, appendix A.
    #[test]
    fn a_kid_is_the_thumbprint_of_the_standard() {
        let seed = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let key = SigningKey::from_pem(&pem_of(pair.to_pkcs8v1().unwrap().as_ref())).unwrap();
        assert_eq!(key.kid, EXAMPLE_KID);
    }

    #[test]
    fn what_is_not_such_a_key_is_refused() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(SigningKey::from_pem(text).is_err());
        }
    }
}
