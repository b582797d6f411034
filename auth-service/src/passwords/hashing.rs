//! Argon2id on threads of its own, of low priority, with a bounded queue.
//!
//! A flood of logins must slow nothing but logins: requests that need no hash never wait for one that does, and a login
//! that finds the queue full is told so at once (503) instead of waiting without end. Each thread keeps its memory from
//! one hash to the next, because asking the system for 19 MiB of fresh pages costs about as much as a quarter of the hash.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow};
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use shared::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{About, Password, Rules, foreign, weak_password};
use crate::config::HashingConfig;

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// What the hashing threads give way by: 0 is normal, 19 the most.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The threads and their queue. They end when the pool and all places are gone.
pub struct HashingPool(Arc<Queue>);

struct Queue {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    capacity: usize,
    params: Params,
}

/// A place in the queue, held until dropped; only who has one can have something hashed.
pub struct HashingPlace {
    queue: Arc<Queue>,
    permit: Option<OwnedSemaphorePermit>,
}

/// What became of a password that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub matches: bool,
    /// The hash was made with other parameters than today's.
    pub outdated: bool,
    /// It matches, and is on a list that everybody has.
    pub known: bool,
}

enum Job {
    CheckStrength {
        password: Password,
        about: About,
        reply: oneshot::Sender<Option<String>>,
    },
    Hash {
        password: Password,
        reply: oneshot::Sender<anyhow::Result<String>>,
    },
    Verify {
        password: Password,
        stored: Option<String>,
        reply: oneshot::Sender<anyhow::Result<Verdict>>,
    },
}

impl HashingPool {
    pub fn start(config: HashingConfig, rules: Rules) -> anyhow::Result<Self> {
        let rules = Arc::new(rules);
        let capacity = config.queue.max(1);
        metrics::gauge!("password_hashing_queue_max").set(u32::try_from(capacity).unwrap_or(u32::MAX));
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..config.threads.max(1) {
            let mut hasher = Hasher::new(config, Arc::clone(&rules))?;
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || hasher.run(&queue))
                .context("starting a hashing thread")?;
        }
        Ok(Self(Arc::new(Queue {
            jobs,
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            params: params_of(config)?,
        })))
    }

    /// A hash that no password is known to match, and that takes as long to check as any other.
    pub fn nobodys_hash(&self) -> Result<String, ApiError> {
        let (mut salt, mut output) = ([0; SALT_BYTES], [0; OUTPUT_BYTES]);
        aws_lc_rs::rand::fill(&mut salt)
            .and_then(|()| aws_lc_rs::rand::fill(&mut output))
            .map_err(|_| ApiError::internal(anyhow!("no random bytes")))?;
        let text = || {
            let salt = Salt::new(&salt)?;
            phc(self.0.params.clone(), salt, Output::new(&output)?)
        };
        text().map_err(ApiError::internal)
    }

    /// A place in the queue, or 503 at once when there is none.
    pub fn reserve(&self) -> Result<HashingPlace, ApiError> {
        let permit = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| {
            metrics::counter!("password_hashing_shed_total").increment(1);
            ApiError::unavailable(
                "overloaded",
                "Too many passwords are being checked. Try again shortly.",
            )
        })?;
        self.0.count();
        Ok(HashingPlace {
            queue: Arc::clone(&self.0),
            permit: Some(permit),
        })
    }
}

impl Queue {
    fn count(&self) {
        let taken = self.capacity.saturating_sub(self.places.available_permits());
        metrics::gauge!("password_hashing_queue_depth").set(u32::try_from(taken).unwrap_or(u32::MAX));
    }
}

impl Drop for HashingPlace {
    fn drop(&mut self) {
        self.permit = None;
        self.queue.count();
    }
}

impl HashingPlace {
    /// 422 unless `password` may be set.
    pub async fn check_strength(&self, password: &Password, about: About) -> Result<(), ApiError> {
        let password = password.clone();
        let weakness = self
            .run(|reply| Job::CheckStrength {
                password,
                about,
                reply,
            })
            .await?;
        weakness.map_or(Ok(()), |advice| Err(weak_password(advice)))
    }

    /// The PHC string of a password.
    pub async fn hash(&self, password: &Password) -> Result<String, ApiError> {
        let password = password.clone();
        self.run(|reply| Job::Hash { password, reply })
            .await?
            .map_err(ApiError::internal)
    }

    /// Checks a password against a PHC string. Without one, it takes as long and never matches.
    pub async fn verify(&self, password: &Password, stored: Option<&str>) -> Result<Verdict, ApiError> {
        let (password, stored) = (password.clone(), stored.map(str::to_owned));
        self.run(|reply| Job::Verify {
            password,
            stored,
            reply,
        })
        .await?
        .map_err(ApiError::internal)
    }

    async fn run<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .jobs
            .send(job(reply))
            .map_err(|_| ApiError::internal(anyhow!("no hashing thread is left")))?;
        answer
            .await
            .map_err(|_| ApiError::internal(anyhow!("a password could not be worked on")))
    }
}

/// What one thread needs.
struct Hasher {
    rules: Arc<Rules>,
    params: Params,
    memory: Vec<Block>,
    /// Checked where there is no user, so that this takes as long as where there is one.
    nobody: String,
}

impl Hasher {
    fn new(config: HashingConfig, rules: Arc<Rules>) -> anyhow::Result<Self> {
        let mut hasher = Self {
            rules,
            params: params_of(config)?,
            memory: Vec::new(),
            nobody: String::new(),
        };
        hasher.nobody = hasher.hash(b"nobody has this password")?;
        Ok(hasher)
    }

    fn run(&mut self, queue: &Mutex<Receiver<Job>>) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
            tracing::warn!(%error, "the hashing threads keep the normal priority");
        }
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let started = Instant::now();
            // A panic over one password must not take the thread from all others; the asker gets an error.
            drop(catch_unwind(AssertUnwindSafe(|| self.work_on(job))));
            metrics::histogram!("password_hashing_duration_seconds").record(started.elapsed());
        }
    }

    /// A reply that nobody waits for any more is no error.
    fn work_on(&mut self, job: Job) {
        match job {
            Job::CheckStrength {
                password,
                about,
                reply,
            } => drop(reply.send(self.rules.weakness(&password, &about))),
            Job::Hash { password, reply } => drop(reply.send(self.hash(password.expose().as_bytes()))),
            Job::Verify {
                password,
                stored,
                reply,
            } => {
                drop(reply.send(self.judge(&password, stored)));
            }
        }
    }

    fn hash(&mut self, password: &[u8]) -> anyhow::Result<String> {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| anyhow!("no random bytes"))?;
        let salt = Salt::new(&salt)?;
        let params = self.params.clone();
        let output = self.fill(
            Algorithm::Argon2id,
            Version::V0x13,
            params.clone(),
            password,
            &salt,
        )?;
        phc(params, salt, output)
    }

    /// One that was set here was judged then; only the list grows. One that was imported never was.
    fn judge(&mut self, password: &Password, stored: Option<String>) -> anyhow::Result<Verdict> {
        let verdict = self.verify(password.expose().as_bytes(), stored)?;
        let is_known = || self.rules.is_breached(password) || verdict.outdated && Rules::is_common(password);
        Ok(Verdict {
            known: verdict.matches && is_known(),
            ..verdict
        })
    }

    fn verify(&mut self, password: &[u8], stored: Option<String>) -> anyhow::Result<Verdict> {
        let foreign = stored
            .as_deref()
            .and_then(|stored| foreign::verify(password, stored));
        if let Some(matches) = foreign {
            return Ok(Verdict {
                matches: matches?,
                outdated: true,
                known: false,
            });
        }
        let nobody = stored.is_none();
        let stored = PasswordHash::new(stored.as_deref().unwrap_or(&self.nobody)).context("a stored hash")?;
        let algorithm = Algorithm::try_from(stored.algorithm.as_str()).map_err(|error| anyhow!("{error}"))?;
        let version = match stored.version {
            Some(version) => Version::try_from(version)?,
            None => Version::V0x10,
        };
        let params = Params::try_from(&stored).map_err(|error| anyhow!("a stored hash: {error}"))?;
        let (salt, expected) = (stored.salt.context("no salt")?, stored.hash.context("no hash")?);
        let outdated = algorithm != Algorithm::Argon2id
            || version != Version::V0x13
            || cost_of(&params) != cost_of(&self.params);
        // `Output` compares in constant time.
        let matches = self.fill(algorithm, version, params, password, &salt)? == expected;
        Ok(Verdict {
            matches: matches && !nobody,
            outdated,
            known: false,
        })
    }

    fn fill(
        &mut self,
        algorithm: Algorithm,
        version: Version,
        params: Params,
        password: &[u8],
        salt: &Salt,
    ) -> anyhow::Result<Output> {
        self.memory.resize(params.block_count(), Block::new());
        let mut output = vec![0; params.output_len().unwrap_or(OUTPUT_BYTES)];
        Argon2::new(algorithm, version, params)
            .hash_password_into_with_memory(password, salt.as_ref(), &mut output, &mut self.memory)
            .map_err(|error| anyhow!("hashing: {error}"))?;
        Ok(Output::new(&output)?)
    }
}

fn params_of(config: HashingConfig) -> anyhow::Result<Params> {
    Params::new(config.memory_kib, config.iterations, 1, Some(OUTPUT_BYTES))
        .map_err(|error| anyhow!("the cost of password hashing is not possible: {error}"))
}

/// A hash of today's kind as it is stored.
fn phc(params: Params, salt: Salt, output: Output) -> anyhow::Result<String> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn cost_of(params: &Params) -> (u32, u32, u32, Option<usize>) {
    (
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        params.output_len(),
    )
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    const CHEAP: HashingConfig = HashingConfig {
        memory_kib: 64,
        iterations: 1,
        threads: 2,
        queue: 4,
    };

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[test]
    fn a_hash_is_what_the_standard_says() {
        let mut hasher = Hasher::new(CHEAP, Arc::default()).unwrap();
        let hash = hasher.hash(b"three violet otters").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let parsed = PasswordHash::new(&hash).unwrap();
        Argon2::default()
            .verify_password(b"three violet otters", &parsed)
            .unwrap();
    }

    #[tokio::test]
    async fn only_the_right_password_matches_and_nobody_has_one() {
        let place = HashingPool::start(CHEAP, Rules::default())
            .unwrap()
            .reserve()
            .unwrap();
        let hash = place.hash(&password("right")).await.unwrap();
        let verdict = |matches| Verdict {
            matches,
            outdated: false,
            known: false,
        };
        assert_eq!(
            place.verify(&password("right"), Some(&hash)).await.unwrap(),
            verdict(true)
        );
        assert_eq!(
            place.verify(&password("wrong"), Some(&hash)).await.unwrap(),
            verdict(false)
        );
        let nobody = password("nobody has this password");
        assert_eq!(place.verify(&nobody, None).await.unwrap(), verdict(false));
    }

    #[tokio::test]
    async fn nobodys_hash_is_a_hash_of_today_that_nothing_matches() {
        let pool = HashingPool::start(CHEAP, Rules::default()).unwrap();
        let (hash, place) = (pool.nobodys_hash().unwrap(), pool.reserve().unwrap());
        assert_ne!(hash, pool.nobodys_hash().unwrap());
        let verdict = place.verify(&password("any"), Some(&hash)).await.unwrap();
        assert_eq!(
            verdict,
            Verdict {
                matches: false,
                outdated: false,
                known: false
            }
        );
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_or_kind_matches_and_is_outdated() {
        let place = HashingPool::start(CHEAP, Rules::default())
            .unwrap()
            .reserve()
            .unwrap();
        let dearer = HashingConfig {
            memory_kib: 128,
            iterations: 2,
            ..CHEAP
        };
        let dearer = Hasher::new(dearer, Arc::default())
            .unwrap()
            .hash(b"right")
            .unwrap();
        // From the reference implementation's own tests: another kind, another version, another length of output.
        let foreign = "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY";
        for (text, hash) in [("right", dearer.as_str()), ("password", foreign)] {
            let verdict = place.verify(&password(text), Some(hash)).await.unwrap();
            assert_eq!(
                verdict,
                Verdict {
                    matches: true,
                    outdated: true,
                    known: true
                },
                "{hash}"
            );
        }
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once_and_a_place_given_back_is_free() {
        let pool = HashingPool::start(CHEAP, Rules::default()).unwrap();
        let mut places: Vec<_> = (0..4).map(|_| pool.reserve().unwrap()).collect();
        let error = pool.reserve().err().unwrap();
        assert_eq!((error.status().as_u16(), error.code()), (503, "overloaded"));
        places.pop();
        drop(pool.reserve().unwrap());
    }

    #[tokio::test]
    async fn a_job_that_fails_leaves_the_thread_to_the_others() {
        let one_thread = HashingConfig { threads: 1, ..CHEAP };
        let place = HashingPool::start(one_thread, Rules::default())
            .unwrap()
            .reserve()
            .unwrap();
        let error = place.verify(&password("any"), Some("no hash")).await.unwrap_err();
        assert_eq!(error.code(), "internal");
        place.hash(&password("any")).await.unwrap();
    }

    #[test]
    fn an_impossible_cost_is_a_start_error() {
        assert!(
            HashingPool::start(
                HashingConfig {
                    memory_kib: 1,
                    ..CHEAP
                },
                Rules::default()
            )
            .is_err()
        );
    }
}
