//! Checks of sessions: from memory, from Redis and from PostgreSQL, beside an endpoint of the same service that does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use platform::platform::Replica;
use platform::{Platform, Service};

use super::requests::{Caller, Connection, Measured, expect, measure, repeat};
use super::{CONNECTIONS, ROUND, ROUNDS, SECRET, median, print_head, print_row};

const SESSIONS: u64 = 400_000;

/// What is asked in a row of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Bare,
    Memory,
    Redis,
    PostgreSql,
}

impl What {
    /// PostgreSQL comes before Redis: it fills it.
    const ALL: [Self; 4] = [Self::Bare, Self::Memory, Self::PostgreSql, Self::Redis];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare endpoint",
            Self::Memory => "session check, memory",
            Self::Redis => "session check, Redis",
            Self::PostgreSql => "session check, PostgreSQL",
        }
    }

    /// What the answer has to say about where the session was found.
    fn expected(self) -> &'static str {
        match self {
            Self::Bare => "ok",
            Self::Memory => "\"cacheSource\":\"unified\"",
            Self::Redis => "\"cacheSource\":\"ultra\"",
            Self::PostgreSql => "\"cacheSource\":\"db\"",
        }
    }
}

pub async fn compare(platform: &Platform, user_id: &str) -> anyhow::Result<()> {
    insert_sessions(platform, user_id).await?;
    let elsewhere = What::ALL.map(|_| Arc::new(AtomicU64::new(0)));
    // Those after the first are asked about in their order, by the one replica and then by the other.
    let (database, shared) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
    let mut cells: Vec<(What, Vec<Measured>)> = What::ALL.map(|what| (what, Vec::new())).into();
    for round in 1..=ROUNDS {
        eprintln!("checks, round {round} of {ROUNDS}");
        for ((what, cells), elsewhere) in cells.iter_mut().zip(&elsewhere) {
            let url = url(platform, usize::from(*what == What::Redis));
            let callers = (0..CONNECTIONS).map(|_| match what {
                What::Bare => repeat(bare(), what.expected()),
                What::Memory => checks(*what, elsewhere, || Some(0)),
                What::PostgreSql => checks(*what, elsewhere, in_turn(&database, SESSIONS)),
                What::Redis => checks(
                    *what,
                    elsewhere,
                    in_turn(&shared, database.load(Ordering::Relaxed)),
                ),
            });
            if *what == What::Memory {
                warm_up(platform).await?;
            }
            cells.push(measure(platform, &url, callers.collect(), None, ROUND).await?);
        }
    }
    print_head("checks of sessions");
    let mut bare = None;
    for ((what, cells), elsewhere) in cells.into_iter().zip(elsewhere) {
        let cell = median(cells);
        let bare = *bare.get_or_insert(cell.per_second);
        print_row(what.name(), &cell, Some(cell.per_second / bare));
        let elsewhere = elsewhere.load(Ordering::Relaxed);
        if elsewhere > 0 {
            println!("  {elsewhere} of these sessions, in all rounds, were found elsewhere");
        }
    }
    Ok(())
}

/// One replica of auth-service.
pub fn url(platform: &Platform, number: usize) -> String {
    platform.url_of(Replica {
        service: Service::Auth,
        number,
    })
}

/// A caller that asks about the one session that the first replica has in memory, most of the time.
pub fn check_again() -> Caller {
    repeat(check(0), "cacheSource")
}

/// Sessions that nobody has asked this replica about.
fn in_turn(next: &Arc<AtomicU64>, limit: u64) -> impl FnMut() -> Option<u64> + Send + 'static {
    let next = Arc::clone(next);
    move || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|session| *session < limit)
}

/// A caller that asks about one session after the other, and counts those that are not found where they should be: on a busy
/// machine Redis is given up on when it is slow, and what a replica remembers is not trusted when it is late.
fn checks(
    what: What,
    elsewhere: &Arc<AtomicU64>,
    mut next: impl FnMut() -> Option<u64> + Send + 'static,
) -> Caller {
    let elsewhere = Arc::clone(elsewhere);
    Box::new(move |answer| {
        if let Some(answer) = answer {
            expect(answer, "cacheSource")?;
            elsewhere.fetch_add(u64::from(!answer.contains(what.expected())), Ordering::Relaxed);
        }
        Ok(next().map(check))
    })
}

fn bare() -> String {
    "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()
}

fn check(session: u64) -> String {
    format!(
        "POST /auth/bridge/validate HTTP/1.1\r\nHost: localhost\r\nX-Bridge-Secret: {SECRET}\r\n\
         X-Session-ID: ses_{session}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The first answer is from PostgreSQL, and is kept from the second reading of changes on.
pub async fn warm_up(platform: &Platform) -> anyhow::Result<()> {
    let url = url(platform, 0);
    let mut connection = Connection::open(url.trim_start_matches("http://")).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !connection.ask(&check(0)).await?.contains(What::Memory.expected()) {
        ensure!(Instant::now() < deadline, "no session is cached");
    }
    Ok(())
}

async fn insert_sessions(platform: &Platform, user_id: &str) -> anyhow::Result<()> {
    let user: shared::id::UserId = user_id.parse()?;
    let sql = platform.sql().await;
    sql.execute(
        "INSERT INTO auth.sessions (id, secret_hash, user_id, created_at, last_used_at, expires_at, idle_expires_at)
         SELECT gen_random_uuid(), sha256(('ses_' || number)::bytea), $1, now(), now(), now() + interval '30 days',
             now() + interval '7 days'
         FROM generate_series(0, $2::bigint) AS number",
        &[&user.uuid(), &i64::try_from(SESSIONS)?],
    )
    .await?;
    sql.batch_execute("VACUUM ANALYZE auth.sessions").await?;
    Ok(())
}
