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
//! - `ML_URL`: the base URL of ml-service, which forgets whom we erase
//! - `SERVICE_SECRETS`: one or two secrets, comma-separated, for calls between services
//! - `PASSWORD_HASH_MEMORY_KIB`, `PASSWORD_HASH_ITERATIONS`: Argon2id's cost, default 19456 and 2 (OWASP), in production
//!   not less
//! - `PASSWORD_HASH_THREADS`: threads that hash, default 1
//! - `PASSWORD_HASH_QUEUE`: how many passwords may be waiting or worked on before logins are shed, default 32
//! - `PASSKEY_ORIGINS`: where passkeys are used, origins such as `https://app.example.com` with commas between them; default
//!   none, and no passkeys
//! - `PASSKEY_RP_ID`: the domain that passkeys are for and all origins are below, default the host of the first origin. Another
//!   one makes all passkeys useless
//! - `PASSWORD_MIN_LENGTH`: characters that a new password needs, 8 to 64, default 15 (NIST SP 800-63B-4)
//! - `BREACHED_PASSWORDS`: optional; the list of stolen passwords that `build-breached-list` has made, from the passwords, or
//!   SHA-1 of passwords, in `BREACHED_PASSWORDS_SOURCE`
//! - `IMPORT_FILE`: for `import-users` only; `email`, `name`, `password_hash` and perhaps `email_verified` as JSON on each line
//! - `FRONTEND_URL`: the site whose pages links in mails lead to: `/verify-email`, `/reset-password` and `/login`
//! - `LINK_URLS`: optional; other pages, and deep links of apps, that a request may have a mail lead to, with commas between them
//! - `SMTP_URL`: who takes mail over, `smtps://user:password@host` or `smtp://user:password@host?tls=required`
//! - `MAIL_FROM`: whom mail is from, `Name <address@domain>`
//! - `SMS_GATEWAY_URL`, `SMS_GATEWAY_TOKEN`: optional; who takes text messages over: a POST of `id`, `to` and `text` as JSON, with
//!   the token as bearer. Without them, nothing that needs a text message is offered
//! - `MESSAGE_DIRECTORY`: for developers, instead of all these: each message becomes a file in it
//! - `BRAND_NAME`: what messages call us, default Flowlet
//! - `EMAIL_VERIFICATION`: `required` before a login, `optional` (default), or `off`, when no mail is sent at registration
//! - `SOCIAL_AUTH`: optional; our accounts at providers whose accounts log in, as JSON: `{"google": {"client_id": "…",
//!   "client_secret": "…"}}`, and so `github`, `facebook`, `discord`, `microsoft` (perhaps with a `tenant`), and `apple` with
//!   `team_id`, `key_id` and `private_key` in place of the secret. A `base_url` names a server in place of the provider's own
//! - `API_BASE_URL`: where browsers find the gateway; providers send them back to `/api/v1/auth/social/<provider>/callback` there
//! - `BRIDGE_SECRETS`: optional; one or two secrets, with a comma between them, that backends may validate sessions with, besides
//!   those that an administrator makes while the service runs
//! - `REDIS_URL`: optional; the `redis://` or `rediss://` URL of a Redis that all replicas share, which makes checks of sessions
//!   faster and their end known sooner
//! - `SOCIAL_CALLBACK_MODE`: how browsers that programs for Flowless have sent get their session: in a `cookie` (default), or in
//!   the `params` of the URL
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

use crate::email_verification::Requirement;
use crate::messages::{CarrierConfig, Links};
use crate::passkeys::RelyingParty;
use crate::passwords::RulesConfig;
use crate::signing_key::{EXAMPLE_KID, SigningKey};
use crate::social::SocialConfig;

/// Argon2id's least cost by OWASP.
const MIN_HASH_MEMORY_KIB: u32 = 19_456;
const MIN_HASH_ITERATIONS: u32 = 2;

#[derive(Clone, Debug)]
pub struct Config {
    pub db: DbConfig,
    pub signing_keys: SigningKeysConfig,
    pub field_keys: FieldKeys,
    pub ml_url: String,
    pub service_secrets: Vec<SecretString>,
    pub hashing: HashingConfig,
    pub relying_party: RelyingParty,
    pub password_rules: RulesConfig,
    pub messages: MessagesConfig,
    pub email_verification: Requirement,
    pub social: SocialConfig,
    pub bridge_secrets: Vec<SecretString>,
    pub redis_url: Option<SecretString>,
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

#[derive(Clone, Debug)]
pub struct MessagesConfig {
    pub carrier: CarrierConfig,
    pub links: Links,
    pub brand: String,
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
            ml_url: env.base_url("ML_URL"),
            service_secrets: env.secrets("SERVICE_SECRETS"),
            hashing: HashingConfig::from_env(&mut env),
            relying_party: RelyingParty::from_env(&mut env),
            password_rules: RulesConfig::from_env(&mut env),
            messages: MessagesConfig::from_env(&mut env),
            email_verification: env.or("EMAIL_VERIFICATION", Requirement::default()),
            social: SocialConfig::from_env(&mut env),
            bridge_secrets: bridge_secrets(&mut env),
            redis_url: env.optional::<String>("REDIS_URL").map(SecretString::from),
            workers: env.or("WORKERS", 2),
            shutdown_delay: Duration::from_secs(env.or("SHUTDOWN_DELAY_S", 0)),
            clock: Clock::system(),
        };
        env.finish(config)
    }
}

/// Each of at least 32 characters: programs of Flowless refuse shorter ones.
fn bridge_secrets(env: &mut Env) -> Vec<SecretString> {
    let text: Option<String> = env.optional("BRIDGE_SECRETS");
    let text = text.unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    if parts.len() > 2 {
        env.refuse("BRIDGE_SECRETS", "has more than two secrets");
    }
    for part in &parts {
        env.check_secret("BRIDGE_SECRETS", part);
        if part.len() < 32 {
            env.refuse("BRIDGE_SECRETS", "has a secret of fewer than 32 characters");
        }
    }
    parts.into_iter().map(SecretString::from).collect()
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

impl MessagesConfig {
    fn from_env(env: &mut Env) -> Self {
        Self {
            carrier: CarrierConfig::from_env(env),
            links: Links::from_env(env),
            brand: env.or("BRAND_NAME", "Flowlet".to_owned()),
        }
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
            ("ML_URL", "http://ml-service:8084"),
            ("FRONTEND_URL", "https://app.example.com"),
            ("SMTP_URL", "smtps://user:password@mail.example.com"),
            ("MAIL_FROM", "Flowlet <no-reply@example.com>"),
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
