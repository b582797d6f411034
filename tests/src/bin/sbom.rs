//! `cargo sbom`: prints the bill of materials of what we ship. `SOURCE_DATE_EPOCH`, where it is set, is the time in it, so
//! that a release's document can be made again, byte for byte.

use std::io::{self, Write};

use anyhow::Context;
use chrono::DateTime;
use platform::{programs, sbom};
use shared::Clock;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let made_at = match programs::variable("SOURCE_DATE_EPOCH") {
        Some(epoch) => {
            let seconds = epoch.to_str().and_then(|seconds| seconds.parse().ok());
            let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            time.context("SOURCE_DATE_EPOCH is not a number of seconds")?
        }
        None => Clock::system().now(),
    };
    let document = sbom::document(made_at).await?;
    Ok(writeln!(io::stdout().lock(), "{document:#}")?)
}
