//! The configuration of `auth-service`, from the environment:
//!
//! - `DATABASE_URL`: `postgres://auth_runtime:…@host/database`
//! - `MIGRATION_DATABASE_URL`: the same as `auth_owner`; for `migrate` only
//! - `ADMIN_DATABASE_URL`: an administrator of the database; for `provision` and `retire-logins` only
//! - `DATABASE_MAX_CONNECTIONS`: connections in the pool, default 8
//! - `SIGNING_KEY`: Ed25519 private key, PKCS#8 PEM, that signs access tokens
//! - `NEXT_SIGNING_KEY`: optional; published and not used, so that everybody knows it before it signs
//! - `PREVIOUS_SIGNING_KEY`: optional; still published, so that the tokens it signed stay valid until they expire
//! - `FIELD_KEYS`: the keys that personal data are encrypted with, `number:key` and commas between them, each key 32 random
//!   bytes in base64. All read; `rotate-field-keys` has everything written with the first
//! - `BLIND_INDEX_KEYS`: the same for the keys that users are found by their e-mail with
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `PASSWORD_HASH_MEMORY_KIB`, `PASSWORD_HASH_ITERATIONS`: Argon2id's cost, default 19456 and 2 (OWASP), in production
//!   not less
//! - `PASSWORD_HASH_THREADS`: threads that hash, default 1
//! - `PASSWORD_HASH_QUEUE`: how many passwords may be waiting or worked on before logins are shed, default 32
//! - `WORKERS`: threads that serve requests, default 2
//! - `SHUTDOWN_DELAY_S`: how long requests are still taken after SIGTERM, until balancers have noticed, default 0
//! - `FLOWLET_ENV`: `production` (default), which refuses what can be guessed or is unsafe, or `development`
//! - `BIND_ADDRESS`: default 127.0.0.1:8081; `LOG_FORMAT`: `pretty` or `json`; `RUST_LOG`
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`: an OTLP/HTTP collector that traces are sent to, default none; `OTEL_SERVICE_NAME`: the name
//!   they are sent under; `OTEL_TRACES_SAMPLER_ARG`: which part of those that begin here is kept, 0 to 1, default 1

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared::config::Env;
use shared::db::DbConfig;
use shared::{Clock, FieldKeys};

use crate::signing_key::{EXAMPLE_KID, SigningKey};

/// Argon2id's least cost by OWASP.
const MIN_HASH_MEMORY_KIB: u32 = 19_456;
const MIN_HASH_ITERATIONS: u32 = 2;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub signing_keys: SigningKeysConfig,
    pub field_keys: FieldKeys,
    pub service_secrets: Vec<SecretString>,
    pub hashing: HashingConfig,
    pub workers: usize,
    pub shutdown_delay: Duration,
    pub clock: Clock,
}

/// Each as PKCS#8 PEM.
#[derive(Clone, Debug)]
pub struct SigningKeysConfig {
    pub current: SecretString,
    pub next: Option<SecretString>,
    pub previous: Option<SecretString>,
}

#[derive(Clone, Copy, Debug)]
pub struct HashingConfig {
    pub memory_kib: u32,
    pub iterations: u32,
    pub threads: usize,
    pub queue: usize,
}

impl Config {
    pub fn from_env(mut env: Env) -> anyhow::Result<Self> {
        let config = Self {
            db: DbConfig::from_env(&mut env),
            signing_keys: SigningKeysConfig::from_env(&mut env),
            field_keys: FieldKeys::from_env(&mut env),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            hashing: HashingConfig::from_env(&mut env),
            workers: env.or("WORKERS", 2),
            shutdown_delay: Duration::from_secs(env.or("SHUTDOWN_DELAY_S", 0)),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}

impl SigningKeysConfig {
    fn from_env(env: &mut Env) -> Self {
        let keys = Self {
            current: env.secret("SIGNING_KEY"),
            next: env.optional_secret("NEXT_SIGNING_KEY"),
            previous: env.optional_secret("PREVIOUS_SIGNING_KEY"),
        };
        for (name, key) in [
            ("SIGNING_KEY", Some(&keys.current)),
            ("NEXT_SIGNING_KEY", keys.next.as_ref()),
            ("PREVIOUS_SIGNING_KEY", keys.previous.as_ref()),
        ] {
            let pem = key.map(ExposeSecret::expose_secret).filter(|pem| !pem.is_empty());
            match pem.map(SigningKey::from_pem) {
                Some(Err(_)) => env.refuse(
                    name,
                    "is not an Ed25519 private key in PKCS#8 PEM: `openssl genpkey -algorithm ed25519` makes one",
                ),
                Some(Ok(key)) if key.kid == EXAMPLE_KID => {
                    env.refuse_in_production(name, "is the example of RFC 8037, which everybody has");
                }
                _ => {}
            }
        }
        keys
    }
}

impl HashingConfig {
    fn from_env(env: &mut Env) -> Self {
        let config = Self {
            memory_kib: env.or("PASSWORD_HASH_MEMORY_KIB", MIN_HASH_MEMORY_KIB),
            iterations: env.or("PASSWORD_HASH_ITERATIONS", MIN_HASH_ITERATIONS),
            threads: env.or("PASSWORD_HASH_THREADS", 1),
            queue: env.or("PASSWORD_HASH_QUEUE", 32),
        };
        for (name, value, least) in [
            ("PASSWORD_HASH_MEMORY_KIB", config.memory_kib, MIN_HASH_MEMORY_KIB),
            ("PASSWORD_HASH_ITERATIONS", config.iterations, MIN_HASH_ITERATIONS),
        ] {
            if value < least {
                let why = format!("is less than {least}, so that a stolen hash is cheap to try passwords on");
                env.refuse_in_production(name, why);
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;
    use crate::signing_key::generate_pem;

    const URL: &str = "postgres://auth_runtime:5d0c8e71b3f94a26805e7d13c9b62f4a@localhost/flowlet";

    const FIELD_KEYS: &str = "1:bUqDqC4b2uTAuDz2M5Vn7JmQ0cKfhm7q0n1gXqvP3Zk=";
    const BLIND_INDEX_KEYS: &str = "1:vQ7Yz0mA9s2wKc5XhT3uR8eLJd6fNnBp1GgOiUyWqMs=";

    fn problems_of(pairs: &[(&str, &str)]) -> String {
        let key = generate_pem().unwrap();
        let mut all = vec![
            ("DATABASE_URL", URL),
            ("SIGNING_KEY", &key),
            ("FIELD_KEYS", FIELD_KEYS),
            ("BLIND_INDEX_KEYS", BLIND_INDEX_KEYS),
            ("SERVICE_SECRETS", "71c5e9a20d8b46f3b9c04d7e62a8f153"),
        ];
        all.extend(pairs);
        let outcome = Config::from_env(Env::from_pairs(all));
        outcome.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn the_defaults_are_fit_for_production() {
        assert_eq!(problems_of(&[]), "");
    }

    #[test]
    fn cheap_hashing_is_for_development() {
        let cheap = [
            ("PASSWORD_HASH_MEMORY_KIB", "19455"),
            ("PASSWORD_HASH_ITERATIONS", "1"),
        ];
        let problems = problems_of(&cheap);
        for (name, _) in cheap {
            assert!(problems.contains(&format!("{name} is less than")), "{problems}");
        }
        let [memory, iterations] = cheap;
        assert_eq!(
            problems_of(&[memory, iterations, ("FLOWLET_ENV", "development")]),
            ""
        );
    }

    #[test]
    fn field_keys_are_numbered_and_random() {
        let (_, without_number) = FIELD_KEYS.split_once(':').unwrap();
        let problems = problems_of(&[("FIELD_KEYS", without_number)]);
        assert!(problems.contains("FIELD_KEYS is not a list"), "{problems}");
        let problems = problems_of(&[("BLIND_INDEX_KEYS", FIELD_KEYS)]);
        assert!(
            problems.contains("BLIND_INDEX_KEYS holds the same secret as FIELD_KEYS"),
            "{problems}"
        );
    }

    #[test]
    fn each_signing_key_must_be_one_and_a_new_one() {
        let (one, other) = (generate_pem().unwrap(), generate_pem().unwrap());
        let names = ["SIGNING_KEY", "NEXT_SIGNING_KEY", "PREVIOUS_SIGNING_KEY"];
        assert_eq!(problems_of(&[(names[1], &one), (names[2], &other)]), "");
        let problems = problems_of(&[(names[1], &one), (names[2], &one)]);
        assert!(
            problems.contains("PREVIOUS_SIGNING_KEY holds the same secret as NEXT_SIGNING_KEY"),
            "{problems}"
        );
        for name in names {
            let problems = problems_of(&[(name, "6b1f0c93e7d2485aa0f4b6d7e9c35182")]);
            assert!(
                problems.contains(&format!("{name} is not an Ed25519 private key")),
                "{problems}"
            );
            assert!(problems_of(&[(name, &example_key())]).contains(&format!("{name} is the example")));
        }
    }

    /// The key of RFC 8037, appendix A.1, in the one PKCS#8 form that an Ed25519 key has.
    fn example_key() -> String {
        let mut document = STANDARD.decode("MC4CAQAwBQYDK2VwBCIEIA==").unwrap();
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        document.extend(seed.unwrap());
        let text = STANDARD.encode(document);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }
}
