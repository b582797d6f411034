//! The URL of a database, and what production asks of it: a password that cannot be guessed, and TLS to any other machine.

use std::str::FromStr;

use secrecy::SecretString;
use tokio_postgres::config::{Host, SslMode};

use crate::config::{Env, is_loopback};

const EXAMPLE: &str = "postgres://role:password@host:5432/database?sslmode=require";

/// The URL of a role of ours.
pub fn from_env(env: &mut Env, name: &'static str) -> SecretString {
    let (url, options) = read(env, name);
    match options.as_ref().map(tokio_postgres::Config::get_password) {
        Some(Some(password)) => env.check_secret(name, &String::from_utf8_lossy(password)),
        Some(None) => env.refuse_in_production(name, "has no password"),
        None => {}
    }
    url
}

/// The URL of a role whose password is not ours to choose.
pub fn of_administrator(env: &mut Env, name: &'static str) -> SecretString {
    read(env, name).0
}

fn read(env: &mut Env, name: &'static str) -> (SecretString, Option<tokio_postgres::Config>) {
    let text: String = env.required(name);
    if text.is_empty() {
        return (SecretString::default(), None);
    }
    let options = tokio_postgres::Config::from_str(&text).ok();
    match &options {
        // The reason is not told, because it may hold a part of the text.
        None => env.refuse(name, format!("is not a URL such as {EXAMPLE}")),
        // `require` verifies the certificate and the host's name too, which elsewhere is called `verify-full`.
        Some(options) if options.get_ssl_mode() != SslMode::Require && !stays_on_this_machine(options) => {
            env.refuse_in_production(name, "goes to another machine without TLS: add sslmode=require");
        }
        Some(_) => {}
    }
    (SecretString::from(text), options)
}

fn stays_on_this_machine(options: &tokio_postgres::Config) -> bool {
    let hosts_are_near = options.get_hosts().iter().all(|host| match host {
        Host::Tcp(host) => is_loopback(host),
        Host::Unix(_) => true,
    });
    let addresses = options.get_hostaddrs();
    hosts_are_near && addresses.iter().all(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "9f27c1e05b84ad36e0f1927c58b3da64";

    fn problems_of(url: &str, environment: &str) -> String {
        let mut env = Env::from_pairs([("DATABASE_URL", url), ("FLOWLET_ENV", environment)]);
        from_env(&mut env, "DATABASE_URL");
        env.finish(())
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn production_wants_a_password_and_tls() {
        let url = |rest: &str| format!("postgres://ml_runtime:{PASSWORD}@{rest}");
        for good in [
            url("db.example.com/flowlet?sslmode=require"),
            url("127.0.0.1:5432/flowlet"),
            url("localhost/flowlet?sslmode=disable"),
            format!("host=/run/postgresql user=ml_runtime password={PASSWORD}"),
        ] {
            assert_eq!(problems_of(&good, "production"), "", "{good}");
        }
        for (bad, problem) in [
            (url("db.example.com/flowlet"), "without TLS"),
            (url("db.example.com/flowlet?sslmode=prefer"), "without TLS"),
            (url("localhost,db.example.com/flowlet"), "without TLS"),
            (url("localhost/flowlet?hostaddr=10.0.0.7"), "without TLS"),
            (
                "postgres://ml_runtime@localhost/flowlet".to_owned(),
                "has no password",
            ),
            (
                "postgres://ml_runtime:hunter2@localhost/flowlet".to_owned(),
                "shorter than",
            ),
            (
                format!("postgres://x:{}@localhost/x", "password".repeat(4)),
                "has a word",
            ),
        ] {
            let problems = problems_of(&bad, "production");
            assert!(
                problems.contains("DATABASE_URL") && problems.contains(problem),
                "{bad}: {problems}"
            );
            assert!(
                !problems.contains("hunter2") && !problems.contains(PASSWORD),
                "{problems}"
            );
            assert_eq!(problems_of(&bad, "development"), "", "{bad}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_everywhere_and_not_shown() {
        for text in [
            "hunter2",
            "hunter2=x",
            "postgres://x:hunter2@h/d?sslmode=verify-full",
        ] {
            for environment in ["production", "development"] {
                let problems = problems_of(text, environment);
                assert!(problems.contains("DATABASE_URL is not a URL"), "{problems}");
                assert!(!problems.contains("hunter2"), "{problems}");
            }
        }
    }
}
