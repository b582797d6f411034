//! The registry on the command line: `export FILE`, which is what to train on, `register FILE`, `shadow MODEL`, `promote MODEL`,
//! `rollback` and `drift`. They ask the API in the name of whoever's access token `FLOWLET_TOKEN` is, so that two people stay two
//! people.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::LocalBoxFuture;
use shared::config::Env;
use shared::http_client;
use shared::id::ModelId;

use crate::arguments;

const TIMEOUT: Duration = Duration::from_secs(60);
/// A file of any length.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
const MODELS: &str = "/api/v1/fraud/models";

type Done = LocalBoxFuture<'static, anyhow::Result<()>>;

pub fn export(env: Env) -> Done {
    Box::pin(async move {
        let file = argument("the file to write")?;
        Asker::new(env)?
            .save("/api/v1/fraud/training-payments", Path::new(&file))
            .await
    })
}

pub fn register(env: Env) -> Done {
    Box::pin(async move {
        let file = argument("the file of a model")?;
        let model = std::fs::read(&file).with_context(|| file.clone())?;
        Asker::new(env)?.post(MODELS, model).await
    })
}

pub fn shadow(env: Env) -> Done {
    Box::pin(change(env, "shadow"))
}

pub fn promote(env: Env) -> Done {
    Box::pin(change(env, "promote"))
}

pub fn rollback(env: Env) -> Done {
    Box::pin(async move {
        Asker::new(env)?
            .post("/api/v1/fraud/model-rollbacks", Vec::new())
            .await
    })
}

pub fn drift(env: Env) -> Done {
    Box::pin(async move { Asker::new(env)?.get("/api/v1/fraud/monitoring").await })
}

async fn change(env: Env, what: &str) -> anyhow::Result<()> {
    let id: ModelId = argument("the id of a model")?.parse()?;
    Asker::new(env)?
        .post(&format!("{MODELS}/{id}/{what}"), Vec::new())
        .await
}

/// What stands behind the name of the command.
fn argument(what: &str) -> anyhow::Result<String> {
    arguments::after_command()
        .next()
        .with_context(|| format!("name {what}"))
}

struct Asker {
    gateway: String,
    token: String,
}

impl Asker {
    fn new(mut env: Env) -> anyhow::Result<Self> {
        let asker = Self {
            gateway: env.or("FLOWLET_URL", "http://127.0.0.1:8080".to_owned()),
            token: env.required("FLOWLET_TOKEN"),
        };
        env.finish(asker)
    }

    async fn get(&self, path: &str) -> anyhow::Result<()> {
        let client = http_client::connection_pool(TIMEOUT)?;
        let asked = client
            .get(format!("{}{path}", self.gateway))
            .bearer_auth(&self.token);
        let answer = asked.send().await?;
        show(answer.status().is_success(), &answer.text().await?)
    }

    /// What breaks off has another name, so that nobody takes it for the whole.
    async fn save(&self, path: &str, file: &Path) -> anyhow::Result<()> {
        let client = http_client::connection_pool(TIMEOUT)?;
        let asked = client
            .get(format!("{}{path}", self.gateway))
            .timeout(DOWNLOAD_TIMEOUT)
            .bearer_auth(&self.token);
        let mut answer = asked.send().await?;
        if !answer.status().is_success() {
            bail!("{}", answer.text().await?);
        }
        let part = file.with_added_extension("part");
        let mut written = File::create(&part).with_context(|| part.display().to_string())?;
        while let Some(chunk) = answer.chunk().await? {
            written.write_all(&chunk)?;
        }
        fs::rename(&part, file).with_context(|| file.display().to_string())
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let client = http_client::connection_pool(TIMEOUT)?;
        let asked = client
            .post(format!("{}{path}", self.gateway))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body);
        let answer = asked.send().await?;
        show(answer.status().is_success(), &answer.text().await?)
    }
}

fn show(is_success: bool, answer: &str) -> anyhow::Result<()> {
    if !is_success {
        bail!("{answer}");
    }
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    println!("{answer:#}");
    Ok(())
}
