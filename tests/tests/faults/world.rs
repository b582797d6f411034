//! A few customers with accounts, what they know of their holds and transfers, and their steps as requests.

use std::collections::BTreeMap;

use chrono::Duration;
use platform::client::{Answer, new_key, text_of, transfer_body};
use platform::{Client, Customer, Platform};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{Clock, Role};

use crate::accounts::{Account, Accounts};
use crate::steps::{Action, Change, Limits, Order, Status, Step};

pub struct World {
    pub customers: Vec<Customer>,
    /// Proposes reversals.
    clerk: Customer,
    /// Decides what waits for a person.
    officer: Customer,
    pub accounts: Accounts,
}

const SCHEDULES: &str = "transfer-schedules";

/// What the answers told, in the order in which they came.
#[derive(Default)]
pub struct Known {
    /// As they were placed.
    pub holds: Vec<Value>,
    /// As they were answered last.
    pub transfers: Vec<Value>,
    /// As they were made.
    pub schedules: Vec<Value>,
}

/// A request of somebody, ready to be sent.
#[derive(Clone)]
pub struct Request {
    pub client: Client,
    method: Method,
    pub path: String,
    pub key: String,
    pub body: Value,
}

impl Request {
    pub async fn send(&self) -> Answer {
        let request = self.client.request(self.method.clone(), &self.path);
        let request = request.header("idempotency-key", &self.key);
        let request = match &self.body {
            Value::Null => request,
            body => request.json(body),
        };
        self.client.send(request).await
    }
}

impl Known {
    /// Takes what a successful answer shows.
    pub fn learn(&mut self, answer: &Value) {
        if let Some(results) = answer["results"].as_array() {
            let done = results.iter().filter(|result| result["status"] == 201);
            return done.for_each(|result| self.learn(&result["body"]));
        }
        let is_new = |known: &[Value]| known.iter().all(|it| it["id"] != answer["id"]);
        match text_of(answer, "id").split_once('_') {
            Some(("hold", _)) if is_new(&self.holds) => self.holds.push(answer.clone()),
            Some(("sch", _)) if is_new(&self.schedules) => self.schedules.push(answer.clone()),
            Some(("xfer", _)) if answer["dry_run"] == true => {}
            Some(("xfer", _)) if is_new(&self.transfers) => self.transfers.push(answer.clone()),
            Some(("xfer", _)) => {
                let mut transfers = self.transfers.iter_mut();
                *transfers.find(|it| it["id"] == answer["id"]).unwrap() = answer.clone();
            }
            _ => {}
        }
    }

    /// What has come in over the rail less what has gone out, in minor units of any currency.
    pub fn entered(&self) -> i64 {
        let by_id: BTreeMap<String, &Value> =
            self.transfers.iter().map(|it| (text_of(it, "id"), it)).collect();
        let entering = |transfer: &Value| match transfer["kind"].as_str() {
            Some("deposit") => transfer["amount"].as_i64().unwrap(),
            Some("withdrawal") => -transfer["amount"].as_i64().unwrap(),
            _ => 0,
        };
        let posted = self.transfers.iter().filter(|it| it["status"] == "posted");
        let amounts = posted.map(|transfer| match transfer["kind"].as_str() {
            Some("reversal") => -entering(by_id[&text_of(transfer, "original_transfer_id")]),
            _ => entering(transfer),
        });
        amounts.sum()
    }
}

/// The one that `number` means.
pub fn pick<T>(items: &[T], number: usize) -> Option<&T> {
    items.get(number.checked_rem(items.len())?)
}

impl World {
    /// Customers called `name0`, `name1`, …, with an account for each owner and currency of `accounts`.
    pub async fn open(platform: &Platform, name: &str, accounts: &[(usize, &'static str)]) -> Self {
        let mut customers = Vec::new();
        for number in 0..=accounts.iter().map(|(owner, _)| *owner).max().unwrap() {
            customers.push(platform.register(&format!("{name}{number}")).await);
        }
        let mut opened = Vec::new();
        for (owner, currency) in accounts.iter().copied() {
            let id = customers[owner].open_account(currency).await;
            opened.push(Account { id, owner, currency });
        }
        let staff = async |title: &str, role| {
            platform
                .register_with_role(&format!("{name}-{title}"), role)
                .await
        };
        Self {
            clerk: staff("clerk", Role::Support).await,
            officer: staff("officer", Role::Compliance).await,
            accounts: Accounts {
                all: opened,
                customers: customers.len(),
            },
            customers,
        }
    }

    /// The number of the customer who holds the account; nobody holds a clearing account.
    pub fn holder(&self, account_id: &Value) -> Option<usize> {
        let account = self.accounts.all.iter().find(|it| account_id == &it.id);
        account.map(|account| account.owner)
    }

    /// The step as a request; none where it is about something that is not there, and where it is none.
    pub fn request(&self, step: &Step, known: &Known) -> Option<Request> {
        let (client, path, body) = match step {
            Step::Deposit {
                account,
                amount,
                stranger,
            } => {
                let mover = self.accounts.mover(*account, *stranger);
                (
                    self.client(mover),
                    "payments/deposits".to_owned(),
                    self.payment(*account, *amount),
                )
            }
            Step::Withdraw {
                account,
                amount,
                stranger,
            } => {
                let mover = self.accounts.mover(*account, *stranger);
                (
                    self.client(mover),
                    "payments/withdrawals".to_owned(),
                    self.payment(*account, *amount),
                )
            }
            Step::Transfer { order, dry_run } => {
                let mut body = self.body(order);
                if *dry_run {
                    body["dry_run"] = json!(true);
                }
                (
                    self.client(self.accounts.mover(order.from, order.stranger)),
                    "transfers".to_owned(),
                    body,
                )
            }
            Step::Batch {
                orders,
                atomic,
                dry_run,
            } => {
                let item = |order| json!({ "key": new_key(), "transfer": self.body(order) });
                let items: Vec<Value> = orders.iter().map(item).collect();
                let mode = if *atomic { "atomic" } else { "independent" };
                let mover = self.accounts.mover(orders[0].from, orders[0].stranger);
                let body = json!({ "mode": mode, "items": items, "dry_run": dry_run });
                (self.client(mover), "transfer-batches".to_owned(), body)
            }
            Step::PlaceHold { from, to, amount } => {
                let Account { id, owner, currency } = self.accounts.account(*from);
                let to = &self.accounts.account(*to).id;
                let body = json!({ "account_id": id, "credit_account_id": to, "amount": amount, "currency": currency });
                (self.client(*owner), "holds".to_owned(), body)
            }
            Step::ChangeHold {
                hold,
                change,
                by_payer,
            } => {
                let hold = pick(&known.holds, *hold)?;
                let side = if *by_payer {
                    "account_id"
                } else {
                    "credit_account_id"
                };
                let (word, amount) = match change {
                    Change::Increment(amount) => ("increment", Some(*amount)),
                    Change::Capture(amount) => ("capture", *amount),
                    Change::Release(amount) => ("release", *amount),
                };
                let body = amount.map_or(json!({}), |amount| json!({ "amount": amount }));
                let path = format!("holds/{}/{word}", text_of(hold, "id"));
                (self.client(self.holder(&hold[side])?), path, body)
            }
            Step::Refund {
                transfer,
                amount,
                by_payer,
            } => {
                let transfer = pick(&known.transfers, *transfer)?;
                let side = if *by_payer {
                    "debit_account_id"
                } else {
                    "credit_account_id"
                };
                // Of several payees nobody can, so anybody may try.
                let sender = self.holder(&transfer[side]).unwrap_or(0);
                let path = format!("transfers/{}/refunds", text_of(transfer, "id"));
                (self.client(sender), path, json!({ "amount": amount }))
            }
            Step::Reverse { transfer } => {
                let path = format!(
                    "transfers/{}/reversals",
                    text_of(pick(&known.transfers, *transfer)?, "id")
                );
                (
                    self.clerk.client.clone(),
                    path,
                    json!({ "description": "Sent by mistake" }),
                )
            }
            Step::Decide { transfer, approve } => {
                let word = if *approve { "approve" } else { "reject" };
                let path = format!(
                    "transfers/{}/{word}",
                    text_of(pick(&known.transfers, *transfer)?, "id")
                );
                (self.officer.client.clone(), path, Value::Null)
            }
            Step::Schedule { order, times } => {
                let first_on = (Clock::system().now() + Duration::days(3)).date_naive();
                let body = json!({
                    "transfer": self.body(order),
                    "calendar": {
                        "first_on": first_on, "at": "09:00", "time_zone": "UTC",
                        "repeat": { "every": 1, "unit": "day" }, "times": times,
                    },
                });
                let mover = self.accounts.mover(order.from, order.stranger);
                (self.client(mover), SCHEDULES.to_owned(), body)
            }
            Step::Steer { schedule, action } => {
                let schedule = pick(&known.schedules, *schedule)?;
                let word = match action {
                    Action::Pause => "pause",
                    Action::Resume => "resume",
                    Action::Cancel => "cancel",
                };
                let path = format!("{SCHEDULES}/{}/{word}", text_of(schedule, "id"));
                (self.client(self.owner_of(schedule)?), path, Value::Null)
            }
            Step::SetLimits { account, limits } => {
                let path = format!("accounts/{}/limits", self.accounts.account(*account).id);
                let Limits {
                    per_transfer,
                    daily,
                    monthly,
                } = limits;
                let body = json!({
                    "per_transfer": per_transfer, "daily": daily, "monthly": monthly, "reason": "A step of the model",
                });
                (self.officer.client.clone(), path, body)
            }
            Step::SetStatus { account, status } => {
                let Account { id, owner, .. } = self.accounts.account(*account);
                let word = match status {
                    Status::Open => "unfreeze",
                    Status::Frozen => "freeze",
                    Status::Closed => "close",
                };
                (self.client(*owner), format!("accounts/{id}/{word}"), Value::Null)
            }
            Step::Expire { .. } | Step::CaptureByItself { .. } | Step::Run { .. } | Step::Repeat { .. } => {
                return None;
            }
        };
        let method = match step {
            Step::SetLimits { .. } => Method::PUT,
            _ => Method::POST,
        };
        Some(Request {
            client,
            method,
            path: format!("/api/v1/{path}"),
            key: new_key(),
            body,
        })
    }

    /// Who made the schedule: the holder of what it debits.
    fn owner_of(&self, schedule: &Value) -> Option<usize> {
        let transfer = &schedule["transfer"];
        let payer = match transfer["legs"].as_array() {
            None => &transfer["debit_account_id"],
            Some(legs) => &legs[0]["account_id"],
        };
        self.holder(payer)
    }

    /// A transfer as one of its sides sees it.
    pub async fn transfer(&self, customer: usize, id: &str) -> Value {
        let path = format!("/api/v1/transfers/{id}");
        self.customers[customer].get(&path).await.must_be(200)
    }

    fn client(&self, customer: usize) -> Client {
        self.customers[customer].client.clone()
    }

    fn payment(&self, account: usize, amount: i64) -> Value {
        let Account { id, currency, .. } = self.accounts.account(account);
        json!({ "account_id": id, "amount": amount, "currency": currency })
    }

    fn body(&self, order: &Order) -> Value {
        let payer = self.accounts.account(order.from);
        if let Order {
            to,
            also: None,
            least: None,
            ..
        } = order
            && let [(to, amount)] = to.as_slice()
        {
            return transfer_body(&payer.id, &self.accounts.account(*to).id, *amount, payer.currency);
        }
        let leg = |account: usize, direction: &str, amount: i64, currency: &str| json!({ "account_id": self.accounts.account(account).id, "direction": direction, "amount": amount, "currency": currency });
        let total = order.to.iter().map(|(_, amount)| amount).sum();
        let mut legs = vec![leg(order.from, "debit", total, payer.currency)];
        if let Some(least) = order.least {
            legs[0]["available_balance"] = json!({ "gte": least });
        }
        let credits = order.to.iter();
        legs.extend(credits.map(|(to, amount)| leg(*to, "credit", *amount, payer.currency)));
        if let Some((from, to, amount)) = order.also {
            let currency = self.accounts.account(from).currency;
            legs.push(leg(from, "debit", amount, currency));
            legs.push(leg(to, "credit", amount, currency));
        }
        json!({ "legs": legs })
    }
}
