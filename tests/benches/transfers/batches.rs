//! How many requests share a commit, by the service's own metrics.

use anyhow::Context;
use platform::{Platform, Service};

pub struct Batches {
    count: f64,
    requests: f64,
}

impl Batches {
    pub async fn now(platform: &Platform) -> anyhow::Result<Self> {
        let url = format!("{}/metrics", platform.url(Service::Transactions));
        let text = reqwest::get(url).await?.text().await?;
        let value = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            Ok(line
                .with_context(|| format!("no metric {name}"))?
                .trim()
                .parse()?)
        };
        Ok(Self {
            count: value("lane_batch_size_count ")?,
            requests: value("lane_batch_size_sum ")?,
        })
    }

    pub fn mean_size_since(&self, earlier: &Self) -> f64 {
        (self.requests - earlier.requests) / (self.count - earlier.count)
    }
}
