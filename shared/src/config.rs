//! Configuration from the environment, typed, read once, and checked as a whole: a wrong start names every variable
//! that is missing or wrong, not just the first, and never shows a value.
//!
//! `FLOWLET_ENV` is `production` unless it says `development`. In production a secret that can be guessed or is used twice
//! is refused, and so is whatever only a developer can want; each refusal says what to do.

mod weakness;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use weakness::weakness_of;

/// The variables of this process, and what was found wrong with them.
#[derive(Debug)]
pub struct Env {
    variables: HashMap<String, String>,
    production: bool,
    problems: Vec<String>,
    /// Every secret that was read, because no two may be the same.
    secrets: Vec<(&'static str, SecretString)>,
}

impl Env {
    /// Reads the environment of the process. A variable that is set but empty counts as absent. Of each `NAME_FILE` the
    /// file's content becomes the value of `NAME`, which is how Kubernetes and Docker mount secrets.
    pub fn from_process() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut env = Self {
            variables: pairs.filter(|(_, value)| !value.is_empty()).collect(),
            production: true,
            problems: Vec::new(),
            secrets: Vec::new(),
        };
        match env.or("FLOWLET_ENV", "production".to_owned()).as_str() {
            "production" => {}
            "development" => env.production = false,
            _ => env.refuse("FLOWLET_ENV", "is neither `production` nor `development`"),
        }
        env
    }

    pub fn required<T: FromStr<Err: Display> + Default>(&mut self, name: &'static str) -> T {
        match self.value(name) {
            Some(text) => self.parse(name, &text).unwrap_or_default(),
            None => {
                self.problems.push(format!("{name} is not set"));
                T::default()
            }
        }
    }

    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.value(name)?;
        self.parse(name, &text)
    }

    pub fn or<T: FromStr<Err: Display>>(&mut self, name: &'static str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// A secret such as a key.
    pub fn secret(&mut self, name: &'static str) -> SecretString {
        let text: String = self.required(name);
        if !text.is_empty() {
            self.check_secret(name, &text);
        }
        SecretString::from(text)
    }

    /// A secret that there may be, such as a key that is being replaced.
    pub fn optional_secret(&mut self, name: &'static str) -> Option<SecretString> {
        let text: String = self.optional(name)?;
        self.check_secret(name, &text);
        Some(SecretString::from(text))
    }

    /// One or two secrets, separated by a comma: the first signs, both are accepted, so that one can be replaced.
    pub fn secrets(&mut self, name: &'static str) -> Vec<SecretString> {
        let text: String = self.required(name);
        let parts: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        if parts.len() > 2 {
            self.refuse(name, "has more than two secrets");
        }
        for part in &parts {
            self.check_secret(name, part);
        }
        parts.into_iter().map(SecretString::from).collect()
    }

    /// The address of another service, without a path. In production it is `https` unless the host is of this machine or of
    /// the cluster, where the network policies decide who talks to whom.
    pub fn base_url(&mut self, name: &'static str) -> String {
        let text: String = self.required(name);
        match parse_base_url(&text) {
            _ if text.is_empty() => {}
            Err(why) => self.refuse(name, why),
            Ok(url) if url.scheme() == "http" && !is_in_cluster(&url) => {
                self.refuse_in_production(name, "is http to a host outside of the cluster: use https");
            }
            Ok(_) => {}
        }
        text
    }

    /// Notes a secret that was read as part of something else, such as the password of a URL.
    pub fn check_secret(&mut self, name: &'static str, secret: &str) {
        if let Some(weakness) = weakness_of(secret) {
            self.refuse_in_production(name, format!("holds a secret that {weakness}"));
        }
        let before = self
            .secrets
            .iter()
            .find(|(_, other)| other.expose_secret().trim_end() == secret.trim_end());
        if let Some((other, _)) = before {
            let why = format!("holds the same secret as {other}: each needs its own");
            self.refuse_in_production(name, why);
        }
        self.secrets.push((name, SecretString::from(secret)));
    }

    /// Says that a value is wrong in a way only its user can tell.
    pub fn refuse(&mut self, name: &'static str, why: impl Display) {
        self.problems.push(format!("{name} {why}"));
    }

    /// Says that a value will do for a developer and for nobody else.
    pub fn refuse_in_production(&mut self, name: &'static str, why: impl Display) {
        if self.production {
            self.refuse(name, why);
        }
    }

    /// The configuration that was read, or every problem that was found.
    pub fn finish<T>(self, config: T) -> anyhow::Result<T> {
        let hint = match self.production {
            true => {
                "\ninfrastructure/secrets.md tells how to make secrets; FLOWLET_ENV=development is for developers"
            }
            false => "",
        };
        anyhow::ensure!(
            self.problems.is_empty(),
            "wrong configuration:\n  {}{hint}",
            self.problems.join("\n  ")
        );
        Ok(config)
    }

    fn value(&mut self, name: &'static str) -> Option<String> {
        let text = self.variables.get(name).cloned();
        let Some(path) = self.variables.get(&format!("{name}_FILE")) else {
            return text;
        };
        if text.is_some() {
            // Whoever replaced one of them would wonder why the other is used.
            self.problems.push(format!("{name} and {name}_FILE are both set"));
            return text;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end().to_owned()).filter(|text| !text.is_empty()),
            Err(error) => {
                self.problems.push(format!("{name}_FILE cannot be read: {error}"));
                None
            }
        }
    }

    /// The text itself is never part of the message: it may be a secret.
    fn parse<T: FromStr<Err: Display>>(&mut self, name: &'static str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{name} cannot be read: {error}"));
                None
            }
        }
    }
}

/// An `http` or `https` URL with nothing but a host and a port: a service's paths are its own.
pub fn parse_base_url(text: &str) -> Result<Url, String> {
    let is_base = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    let url = Url::parse(text).ok().filter(is_base);
    url.ok_or_else(|| "is not a base URL such as http://localhost:8081".to_owned())
}

/// A name without a dot, or under a domain that no public name server knows, is resolved by the cluster itself.
fn is_in_cluster(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let inside = [".svc", ".cluster.local", ".internal", ".localhost"];
    is_loopback(host) || !host.contains(['.', ':']) || inside.iter().any(|domain| host.ends_with(domain))
}

/// Whether what is sent to this host never leaves the machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "3b1c9e07a4d85f62e0c7b9a16d4f8235";
    const ALSO_GOOD: &str = "c6f0472ab9e1d3580f7e64ac21b98d50";

    fn problems_of(pairs: &[(&str, &str)], read: impl Fn(&mut Env)) -> String {
        let mut env = Env::from_pairs(pairs.iter().copied());
        read(&mut env);
        let problems = env
            .finish(())
            .map_or_else(|error| error.to_string(), |()| String::new());
        for (name, value) in pairs.iter().filter(|(name, _)| *name != "FLOWLET_ENV") {
            assert!(value.len() < 6 || !problems.contains(value), "{name}: {problems}");
        }
        problems
    }

    #[test]
    fn every_problem_is_named_and_no_value_is_shown() {
        let text = problems_of(
            &[("PORT", "abcdefgh"), ("KEY", "hunter2"), ("EMPTY", "")],
            |env| {
                env.required::<u16>("PORT");
                env.secret("KEY");
                env.required::<String>("EMPTY");
                env.secrets("ABSENT");
                env.refuse("THIS", "is wrong");
            },
        );
        for problem in [
            "PORT cannot be read",
            "KEY holds a secret that is shorter",
            "EMPTY is not set",
            "ABSENT is not set",
            "THIS is wrong",
            "infrastructure/secrets.md",
        ] {
            assert!(text.contains(problem), "{text}");
        }
    }

    #[test]
    fn production_is_what_is_not_called_development() {
        let read = |env: &mut Env| drop(env.secret("KEY"));
        let weak = ("KEY", "hunter2");
        assert!(problems_of(&[weak], read).contains("KEY holds"));
        assert!(problems_of(&[weak, ("FLOWLET_ENV", "production")], read).contains("KEY holds"));
        assert_eq!(problems_of(&[weak, ("FLOWLET_ENV", "development")], read), "");
        let text = problems_of(&[weak, ("FLOWLET_ENV", "Development")], read);
        assert!(
            text.contains("FLOWLET_ENV is neither") && text.contains("KEY holds"),
            "{text}"
        );
        // A missing one is missing everywhere.
        assert!(problems_of(&[("FLOWLET_ENV", "development")], read).contains("KEY is not set"));
    }

    #[test]
    fn no_secret_is_used_twice() {
        let read = |env: &mut Env| {
            env.secret("KEY");
            env.optional_secret("NEXT_KEY");
            env.secrets("SECRETS");
        };
        let both = format!("{GOOD},{ALSO_GOOD}");
        let text = problems_of(&[("KEY", GOOD), ("NEXT_KEY", GOOD), ("SECRETS", &both)], read);
        assert!(text.contains("NEXT_KEY holds the same secret as KEY"), "{text}");
        assert!(text.contains("SECRETS holds the same secret as KEY"), "{text}");
        let twice = format!("{ALSO_GOOD}, {ALSO_GOOD}");
        let text = problems_of(&[("KEY", GOOD), ("SECRETS", &twice)], read);
        assert!(
            text.contains("SECRETS holds the same secret as SECRETS"),
            "{text}"
        );
        assert_eq!(problems_of(&[("KEY", GOOD), ("SECRETS", ALSO_GOOD)], read), "");
    }

    #[test]
    fn each_of_several_secrets_must_be_good() {
        let read = |env: &mut Env| drop(env.secrets("SECRETS"));
        assert_eq!(problems_of(&[("SECRETS", GOOD)], read), "");
        assert_eq!(
            problems_of(&[("SECRETS", &format!("{GOOD}, {ALSO_GOOD}"))], read),
            ""
        );
        let text = problems_of(&[("SECRETS", &format!("{GOOD},changeme"))], read);
        assert!(text.contains("SECRETS holds a secret that is shorter"), "{text}");
        let text = problems_of(&[("SECRETS", "first1,second,third3")], read);
        assert!(text.contains("SECRETS has more than two"), "{text}");
    }

    #[test]
    fn services_are_called_over_https_unless_they_are_near() {
        let read = |env: &mut Env| drop(env.base_url("URL"));
        for url in [
            "https://auth.example.com",
            "http://auth-service:8080",
            "http://auth-service.flowlet.svc:8080",
            "http://auth-service.flowlet.svc.cluster.local",
            "http://127.0.0.1:8081",
            "http://[::1]:8081/",
            "http://localhost:8081",
        ] {
            assert_eq!(problems_of(&[("URL", url)], read), "", "{url}");
        }
        for url in [
            "http://auth.example.com",
            "http://10.0.0.7:8081",
            "http://[fd00::7]:8081",
        ] {
            assert!(
                problems_of(&[("URL", url)], read).contains("URL is http"),
                "{url}"
            );
            assert_eq!(
                problems_of(&[("URL", url), ("FLOWLET_ENV", "development")], read),
                ""
            );
        }
        for url in [
            "auth-service:8081",
            "ftp://auth-service",
            "http://auth-service/api",
            "https://user:hunter2@auth.example.com",
        ] {
            assert!(
                problems_of(&[("URL", url)], read).contains("URL is not a base URL"),
                "{url}"
            );
        }
    }

    #[test]
    fn a_mounted_file_is_read_like_a_variable() {
        let path = std::env::temp_dir().join(format!("flowlet-secret-{}", std::process::id()));
        let file = path.to_string_lossy();
        let pairs = [("KEY_FILE", &*file)];
        std::fs::write(&path, format!("{GOOD}\n")).unwrap();
        let mut env = Env::from_pairs(pairs);
        let key = env.secret("KEY");
        env.finish(()).unwrap();
        assert_eq!(key.expose_secret(), GOOD);
        let read = |env: &mut Env| drop(env.secret("KEY"));
        assert!(problems_of(&[pairs[0], ("KEY", ALSO_GOOD)], read).contains("KEY and KEY_FILE are both set"));
        std::fs::write(&path, "\n").unwrap();
        assert!(problems_of(&pairs, read).contains("KEY is not set"));
        std::fs::remove_file(&path).unwrap();
        assert!(problems_of(&pairs, read).contains("KEY_FILE cannot be read"));
    }
}
