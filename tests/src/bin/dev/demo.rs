//! The demo data, and what a newcomer is told. Everything goes through the public API under fixed idempotency keys, so that a
//! second start finds what the first one made.

use std::time::Duration;

use anyhow::Context;
use platform::client::{Client, text_of};
use platform::{Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

use super::{DATABASE, Style};

const PASSWORD: &str = "flowlet-demo-password";
const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";
const OFFICER: &str = "officer@example.com";
const ADMIN: &str = "admin@example.com";
/// 1,000.00 USD.
const FUNDS: i64 = 100_000;

pub struct Demo {
    alice_account: String,
    bob_account: String,
}

pub async fn seed(platform: &Platform) -> anyhow::Result<Demo> {
    let client = platform.client();
    let alice_account = funded_account(&client, ALICE, "Alice").await?;
    let bob_account = funded_account(&client, BOB, "Bob").await?;
    log_in_or_register(&client, OFFICER, "Olga Officer").await?;
    platform.grant_role(OFFICER, Role::Compliance).await?;
    log_in_or_register(&client, ADMIN, "Ada Admin").await?;
    platform.grant_role(ADMIN, Role::Admin).await?;
    Ok(Demo {
        alice_account,
        bob_account,
    })
}

async fn funded_account(client: &Client, email: &str, name: &str) -> anyhow::Result<String> {
    let client = log_in_or_register(client, email, name).await?;
    let accounts = client
        .try_send(client.request(Method::GET, "/api/v1/accounts"))
        .await?
        .success()?;
    let accounts = accounts.get("data").and_then(Value::as_array);
    let checking = accounts.into_iter().flatten().find(|account| {
        account.get("kind") == Some(&json!("checking")) && account.get("currency") == Some(&json!("USD"))
    });
    let id = match checking {
        Some(account) => text_of(account, "id"),
        None => {
            let account = json!({ "kind": "checking", "currency": "USD", "nickname": "Everyday" });
            let opened = client
                .try_post_with_key("/api/v1/accounts", "demo-checking-account", &account)
                .await?;
            text_of(&opened.success()?, "id")
        }
    };
    let deposit = json!({ "account_id": id, "amount": FUNDS, "currency": "USD" });
    let deposited = client
        .try_post_with_key("/api/v1/payments/deposits", "demo-funds", &deposit)
        .await?;
    deposited
        .success()
        .with_context(|| format!("funding the account of {email}"))?;
    Ok(id)
}

async fn log_in_or_register(client: &Client, email: &str, name: &str) -> anyhow::Result<Client> {
    let credentials = json!({ "email": email, "password": PASSWORD });
    let log_in = || {
        let request = client.request(Method::POST, "/api/v1/auth/login");
        client.try_send(request.json(&credentials))
    };
    let mut answer = log_in().await?;
    if answer.status == 401 {
        let registration = json!({ "email": email, "password": PASSWORD, "name": name });
        let request = client.request(Method::POST, "/api/v1/auth/register");
        client.try_send(request.json(&registration)).await?.success()?;
        answer = log_in().await?;
    }
    let login = answer.success()?;
    Ok(client.with_token(&text_of(&login, "access_token")))
}

impl Demo {
    pub fn print(&self, platform: &Platform, took: Duration) {
        let style = Style::of_stdout();
        let gateway = platform.url(Service::Gateway);
        let (alice, bob) = (&self.alice_account, &self.bob_account);
        let database = platform.server.cluster.superuser_url(DATABASE);
        let heading = |text: &str| println!("\n{}", style.bold(text));
        let row = |name: &str, value: &str| println!("  {name:<12} {value}");

        heading(&format!("Flowlet runs (started in {:.1} s)", took.as_secs_f32()));
        row("API", &format!("{gateway}/api/v1"));
        row("API docs", &format!("{gateway}/docs"));
        row("Database", &format!("psql '{database}'"));
        row(
            "Mail",
            &format!("{} (one file each)", platform.inbox.directory().display()),
        );

        heading("Demo users");
        row("password", &format!("{PASSWORD}   (of all four)"));
        row("Alice", &format!("{ALICE:<22} {alice}   USD"));
        row("Bob", &format!("{BOB:<22} {bob}   USD"));
        row("Officer", &format!("{OFFICER:<22} reviews transfers"));
        row("Admin", &format!("{ADMIN:<22} manages users"));

        heading("Try it: Alice sends Bob 10.50 USD");
        println!(
            r#"
TOKEN=$(curl -s {gateway}/api/v1/auth/login -H 'content-type: application/json' \
  -d '{{"email":"{ALICE}","password":"{PASSWORD}"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -s {gateway}/api/v1/transfers -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
  -H "idempotency-key: lunch-$(date +%s)" \
  -d '{{"debit_account_id":"{alice}","credit_account_id":"{bob}","amount":1050,"currency":"USD","description":"Lunch"}}'; echo"#
        );
        heading("Take a tour, request by request");
        println!("\npython3 tests/tours/ledger.py");
        println!(
            "python3 tests/tours/auth.py --mail {}",
            platform.inbox.directory().display()
        );
        println!(
            "\n{}",
            style.dim("Ctrl-C stops everything and keeps the data. `cargo dev -- --reset` starts afresh.")
        );
    }
}
