//! Logins beside Argon2 alone, what other requests keep meanwhile, and whether the time of a refusal tells who is a user.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use argon2::{Argon2, Block};
use platform::client::PASSWORD;
use platform::{Customer, Platform};
use serde_json::json;

use super::requests::{Caller, Connection, measure, post, quantile_ms, repeat, run};
use super::{CONNECTIONS, ROUND, ROUNDS, checks, median, print_head, print_row};

/// How many log in at once: enough that there is always one whose password can be hashed.
const USERS: usize = 8;
/// A flood: many times what can be hashed.
const GUESSES_PER_SECOND: f64 = 1_000.0;
/// What a session check of a replica that is not busy is measured at.
const CHECKS_PER_SECOND: f64 = 1_000.0;
/// So often a password may be wrong before there is a delay.
const FREE_GUESSES: usize = 4;
const GUESSED: usize = 50;

pub async fn compare(platform: &Platform) -> anyhow::Result<()> {
    let users = register(platform, "login", USERS).await;
    let url = checks::url(platform, 0);
    let (mut alone, mut logins, mut quiet, mut meanwhile) = (vec![], vec![], vec![], vec![]);
    for round in 1..=ROUNDS {
        eprintln!("logins, round {round} of {ROUNDS}");
        alone.push(tokio::task::spawn_blocking(hashes_per_second).await??);
        logins.push(measure(platform, &url, log_in_again(&users), None, ROUND).await?);
        checks::warm_up(platform).await?;
        quiet.push(measure(platform, &url, check_again(), None, ROUND).await?);
        let (busy, _) = tokio::try_join!(
            measure(platform, &url, check_again(), None, ROUND),
            run(&url, log_in_again(&users), None, ROUND)
        )?;
        meanwhile.push(busy);
    }
    alone.sort_by(f64::total_cmp);
    let (alone, quiet) = (alone[ROUNDS / 2], median(quiet));
    print_head("logins");
    println!("{:<36}{alone:>12.1}", "Argon2 alone, one thread");
    let logins = median(logins);
    print_row(
        "logins, one hashing thread",
        &logins,
        Some(logins.per_second / alone),
    );
    print_row("session checks", &quiet, None);
    let meanwhile = median(meanwhile);
    let kept = meanwhile.per_second / quiet.per_second;
    print_row("session checks during logins", &meanwhile, Some(kept));
    Ok(())
}

/// Checks of sessions at a rate that the service can bear, alone and during a flood of guesses.
pub async fn flood(platform: &Platform) -> anyhow::Result<()> {
    let url = checks::url(platform, 0);
    checks::warm_up(platform).await?;
    let paced = async || {
        let rate = Some(CHECKS_PER_SECOND);
        measure(platform, &url, check_again(), rate, ROUND).await
    };
    let (mut quiet, mut flooded) = (vec![], vec![]);
    let (shed, judged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..ROUNDS {
        quiet.push(paced().await?);
        let callers = (0..CONNECTIONS).map(|number| guess(number, &shed, &judged));
        let rate = Some(GUESSES_PER_SECOND);
        let (checks, _) = tokio::try_join!(paced(), run(&url, callers.collect(), rate, ROUND))?;
        flooded.push(checks);
    }
    print_head("1,000 session checks a second");
    print_row("alone", &median(quiet), None);
    print_row("with 1,000 guesses a second", &median(flooded), None);
    let (shed, judged) = (shed.load(Ordering::Relaxed), judged.load(Ordering::Relaxed));
    println!("of the guesses, {judged} were judged (401) and {shed} shed (503)");
    Ok(())
}

/// How long refusals take. The last column is how often one of them takes longer than a wrong password: 0.5 tells nothing.
pub async fn refusals(platform: &Platform) -> anyhow::Result<()> {
    let url = checks::url(platform, 0);
    let wrong = register(platform, "wrong", GUESSED).await;
    let disabled = register(platform, "disabled", GUESSED).await;
    let sql = platform.sql().await;
    for user in &disabled {
        let id: shared::id::UserId = user.user_id.parse()?;
        let disable = "UPDATE auth.users SET status = 'disabled' WHERE id = $1";
        sql.execute(disable, &[&id.uuid()]).await?;
    }
    let mut connection = Connection::open(url.trim_start_matches("http://")).await?;
    let kinds = ["wrong password", "unknown", "disabled"];
    let mut took_us: [Vec<u32>; 3] = Default::default();
    for number in 0..GUESSED * FREE_GUESSES {
        let user = number % GUESSED;
        let unknown = format!("unknown{user}@example.com");
        let guesses = [
            (wrong[user].email.as_str(), "not-the-password"),
            (unknown.as_str(), PASSWORD),
            (disabled[user].email.as_str(), PASSWORD),
        ];
        for (kind, (email, password)) in guesses.into_iter().enumerate() {
            let asked_at = Instant::now();
            let answer = connection.ask(&login(email, password)).await?;
            anyhow::ensure!(answer.starts_with("HTTP/1.1 401"), "{email}: {answer}");
            took_us[kind].push(asked_at.elapsed().as_micros().try_into()?);
        }
    }
    println!(
        "\n{:<36}{:>10}{:>10}{:>10}{:>10}",
        "refused logins", "p10 ms", "p50 ms", "p90 ms", "longer"
    );
    for (kind, took_us_of_kind) in kinds.iter().zip(&took_us) {
        let mut sorted = took_us_of_kind.clone();
        sorted.sort_unstable();
        let [p10, p50, p90] = [0.1, 0.5, 0.9].map(|share| quantile_ms(&sorted, share));
        let longer = share_of_longer(took_us_of_kind, &took_us[0]);
        println!("{kind:<36}{p10:>10.2}{p50:>10.2}{p90:>10.2}{longer:>10.2}");
    }
    Ok(())
}

/// In which part of all pairs the first is longer; equal ones count half.
fn share_of_longer(first: &[u32], second: &[u32]) -> f64 {
    let pairs = first
        .iter()
        .flat_map(|one| second.iter().map(move |other| (one, other)));
    let points: f64 = pairs
        .map(|(one, other)| match one.cmp(other) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    points / (first.len() * second.len()) as f64
}

/// What the hashing threads of auth-service do, without auth-service: its default cost, and memory that is kept.
fn hashes_per_second() -> anyhow::Result<f64> {
    let argon2 = Argon2::default();
    let mut memory = vec![Block::new(); argon2.params().block_count()];
    let (mut output, mut count, started) = ([0; 32], 0.0, Instant::now());
    while started.elapsed() < ROUND {
        argon2
            .hash_password_into_with_memory(PASSWORD.as_bytes(), &[7; 16], &mut output, &mut memory)
            .map_err(|error| anyhow::anyhow!("hashing: {error}"))?;
        count += 1.0;
    }
    Ok(count / started.elapsed().as_secs_f64())
}

async fn register(platform: &Platform, name: &str, count: usize) -> Vec<Customer> {
    let mut users = Vec::new();
    for number in 0..count {
        users.push(platform.register(&format!("{name}{number}")).await);
    }
    users
}

fn login(email: &str, password: &str) -> String {
    let body = json!({ "email": email, "password": password });
    post("/api/v1/auth/login", &body.to_string())
}

fn log_in_again(users: &[Customer]) -> Vec<Caller> {
    let again = |user: &Customer| repeat(login(&user.email, PASSWORD), "access_token");
    users.iter().map(again).collect()
}

fn check_again() -> Vec<Caller> {
    (0..CONNECTIONS).map(|_| checks::check_again()).collect()
}

/// A caller that guesses at another e-mail each time, and counts what it is answered.
fn guess(number: usize, shed: &Arc<AtomicU64>, judged: &Arc<AtomicU64>) -> Caller {
    let (shed, judged, mut guesses) = (Arc::clone(shed), Arc::clone(judged), 0);
    Box::new(move |answer| {
        match answer.map(|answer| answer.get(..12).unwrap_or_default()) {
            Some("HTTP/1.1 503") => drop(shed.fetch_add(1, Ordering::Relaxed)),
            Some("HTTP/1.1 401") => drop(judged.fetch_add(1, Ordering::Relaxed)),
            Some(_) => anyhow::bail!("a guess was answered {answer:?}"),
            None => {}
        }
        guesses += 1;
        let email = format!("guess{number}.{guesses}@example.com");
        Ok(Some(login(&email, "not-the-password")))
    })
}
