//! Where PostgreSQL's time goes: the statements that transfers cost most, by the role that runs them, from
//! `pg_stat_statements`. What it tells apart it also slows down a little, so the other tables are made without it.

use platform::{Platform, Service};

use super::load::Load;
use super::{CONNECTIONS, ROUND, Workload};

/// Of the server that this is measured on.
pub const SETTINGS: [&str; 2] = [
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track_planning=on",
];

pub async fn run(platform: &Platform, token: &str, accounts: &[String]) -> anyhow::Result<()> {
    let load = Load::new(&platform.url(Service::Transactions), token, accounts)?;
    let sql = platform.sql().await;
    sql.batch_execute("CREATE EXTENSION pg_stat_statements").await?;
    for workload in Workload::ALL {
        load.run(workload, CONNECTIONS, None, ROUND).await?;
        sql.batch_execute("SELECT pg_stat_statements_reset()").await?;
        let measured = load.run(workload, CONNECTIONS, None, ROUND * 2).await?;
        println!(
            "\n{}: {:.0} transfers/s\n{:<22}{:>12}{:>16}  statement",
            workload.name(),
            measured.per_second,
            "role",
            "µs/transfer",
            "calls/transfer"
        );
        let transfers = measured.count.max(1) as f64;
        for row in sql.query(DEAREST, &[]).await? {
            let (role, milliseconds, calls): (String, f64, i64) = (row.get(0), row.get(1), row.get(2));
            let statement: String = row.get(3);
            println!(
                "{role:<22}{:>12.1}{:>16.4}  {statement}",
                milliseconds * 1e3 / transfers,
                calls as f64 / transfers
            );
        }
    }
    Ok(())
}

const DEAREST: &str = "
SELECT rolname::text, total_exec_time + total_plan_time, calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 110)
FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid
ORDER BY 2 DESC LIMIT 30";
