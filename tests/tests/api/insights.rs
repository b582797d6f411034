//! Insights, as their holder sees them: found in transfers of months ago, corrected, rated, dismissed; and nobody else's.

use platform::client::text_of;
use platform::{Customer, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::id::{AccountId, TransferId, UserId};

/// A salary, rent, a subscription that rose and lunches, over the last months: written into the log of facts, since nobody can
/// wait for months.
async fn months_pass(platform: &Platform, holder: &Customer, account: &str) {
    let sql = platform.sql().await;
    let holder = holder.user_id.parse::<UserId>().unwrap().uuid();
    let account = account.parse::<AccountId>().unwrap().uuid();
    let shops: Vec<_> = (0..4).map(|_| AccountId::new().uuid()).collect();
    let add = async |days_ago: i32, amount: i64, shop: usize, what: &str, comes_in: bool| {
        let shop = shops[shop];
        let (from, to) = if comes_in {
            (shop, account)
        } else {
            (account, shop)
        };
        let (payer, payee) = if comes_in {
            (None, Some(holder))
        } else {
            (Some(holder), None)
        };
        sql.execute(
            "INSERT INTO ml.transfers (transfer_id, kind, status, debit_account_id, credit_account_id, debit_holder_id,
                 credit_holder_id, amount, currency, description, occurred_at)
             VALUES ($1, 'transfer', 'posted', $2, $3, $4, $5, $6, 'USD', $7, now() - make_interval(days => $8))",
            &[&TransferId::new().uuid(), &from, &to, &payer, &payee, &amount, &what, &days_ago],
        )
        .await
        .unwrap();
    };
    for months_ago in 0..6 {
        let days_ago = 3 + months_ago * 30;
        add(days_ago, 300_000, 0, "Salary ACME", true).await;
        add(days_ago, 120_000, 1, "Rent", false).await;
        let price = if months_ago == 0 { 1_599 } else { 1_299 };
        add(days_ago, price, 2, "NETFLIX.COM 866", false).await;
    }
    for lunch in 0..40 {
        add(1 + lunch * 4, 1_200, 3, "Zorblat 12", false).await;
    }
}

fn of_kind<'a>(list: &'a Value, kind: &str) -> Vec<&'a Value> {
    let insights = list["data"].as_array().unwrap();
    insights
        .iter()
        .filter(|insight| insight["kind"] == kind)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_sees_what_the_transfers_tell_and_has_the_last_word() {
    let platform = Platform::start().await;
    let holder = platform.register("holder").await;
    let stranger = platform.register("stranger").await;
    let account = holder.open_funded_account(50_000, "USD").await;
    months_pass(&platform, &holder, &account).await;

    let list = holder
        .get("/api/v1/insights?time_zone=Europe/Berlin")
        .await
        .must_be(200);
    let rises = of_kind(&list, "price_rise");
    assert_eq!(rises.len(), 1, "{list}");
    let sentence = text_of(rises[0], "sentence");
    assert!(
        sentence.contains("from 12.99 USD to 15.99 USD a month"),
        "{sentence}"
    );
    assert_eq!(rises[0]["evidence"].as_array().unwrap().len(), 2);
    let nothing = stranger.get("/api/v1/insights").await.must_be(200);
    assert_eq!(nothing["data"], json!([]));

    let recurring = holder.get("/api/v1/insights/recurring").await.must_be(200);
    let cadences: Vec<_> = recurring["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["cadence"])
        .collect();
    assert_eq!(cadences, ["monthly", "monthly", "monthly"], "{recurring}");
    let subscriptions = holder.get("/api/v1/insights/subscriptions").await.must_be(200);
    assert_eq!(
        subscriptions["data"][0]["yearly_total"],
        12 * 1_599,
        "{subscriptions}"
    );
    let savings = holder
        .get("/api/v1/insights/savings?currency=USD")
        .await
        .must_be(200);
    assert!(
        savings["data"][0]["months"].as_array().unwrap().len() >= 6,
        "{savings}"
    );
    let flow = holder.get("/api/v1/insights/cash-flow").await.must_be(200);
    let forecast = &flow["data"][0]["forecast"];
    assert_eq!(forecast["balance"], 50_000, "as the ledger says: {flow}");
    assert_eq!(forecast["days"].as_array().unwrap().len(), 90);

    correct_and_budget(&holder, &stranger).await;
    rate_and_dismiss(&holder, &stranger, &text_of(rises[0], "id")).await;
    refused(&holder).await;

    platform.stop_service(Service::Transactions).await.unwrap();
    holder.get("/api/v1/insights").await.must_be(200);
    holder
        .get("/api/v1/insights/cash-flow")
        .await
        .must_be_problem(503, "service_unavailable");
    platform.stop().await.unwrap();
}

async fn correct_and_budget(holder: &Customer, stranger: &Customer) {
    let unknown = "/api/v1/insights/categories?category=unknown";
    let before = holder.get(unknown).await.must_be(200);
    assert!(before.to_string().contains("Zorblat"), "{before}");
    assert_eq!(
        before["data"][0]["categories"][0]["payments"][0]["source"],
        "nobody"
    );
    let rules = "/api/v1/insights/categories/rules";
    let rule = json!({ "subject": { "words": "ZORBLAT" }, "category": "dining" });
    let made = holder.put(rules, rule.clone()).await.must_be(200);
    let again = holder.put(rules, rule).await.must_be(200);
    assert_eq!(made, again, "one rule about one thing");
    let after = holder.get(unknown).await.must_be(200);
    assert!(!after.to_string().contains("Zorblat"), "{after}");

    let budget = "/api/v1/insights/budgets/USD/dining";
    holder.put(budget, json!({ "amount": 100 })).await.must_be(204);
    let budgets = holder.get("/api/v1/insights/budgets").await.must_be(200);
    assert_eq!(budgets["data"][0]["amount"], 100, "{budgets}");
    let theirs = stranger.get("/api/v1/insights/budgets").await.must_be(200);
    assert_eq!(theirs["data"], json!([]));
    let delete = async |who: &Customer, path: &str| who.send(who.request(Method::DELETE, path)).await;
    let rule = format!("{rules}/{}", text_of(&made, "id"));
    delete(stranger, &rule).await.must_be_problem(404, "not_found");
    delete(stranger, budget).await.must_be_problem(404, "not_found");
    delete(holder, &rule).await.must_be(204);
    delete(holder, budget).await.must_be(204);
    assert_eq!(holder.get(rules).await.must_be(200)["data"], json!([]));
}

async fn rate_and_dismiss(holder: &Customer, stranger: &Customer, id: &str) {
    let feedback = format!("/api/v1/insights/{id}/feedback");
    let dismiss = format!("/api/v1/insights/{id}/dismiss");
    let useful = json!({ "rating": "useful" });
    stranger
        .post(&feedback, useful.clone())
        .await
        .must_be_problem(404, "not_found");
    stranger
        .post_empty(&dismiss)
        .await
        .must_be_problem(404, "not_found");
    holder.post(&feedback, useful).await.must_be(204);
    let list = holder.get("/api/v1/insights?kind=price_rise").await.must_be(200);
    assert_eq!(list["data"][0]["rating"], "useful", "{list}");
    holder.post_empty(&dismiss).await.must_be(204);
    holder.post_empty(&dismiss).await.must_be(204);
    let list = holder.get("/api/v1/insights?kind=price_rise").await.must_be(200);
    assert_eq!(list["data"], json!([]));
}

async fn refused(holder: &Customer) {
    for path in [
        "?time_zone=Mars",
        "?currency=usd",
        "?kind=gossip",
        "?limit=0",
        "?page=2",
    ] {
        let path = format!("/api/v1/insights{path}");
        holder.get(&path).await.must_be_problem(400, "invalid_query");
    }
    let rules = "/api/v1/insights/categories/rules";
    for subject in [
        json!({}),
        json!({ "words": "" }),
        json!({ "words": "-" }),
        json!({ "holder": 1 }),
    ] {
        let body = json!({ "subject": subject, "category": "dining" });
        holder.put(rules, body).await.must_be_problem(400, "invalid_body");
    }
    let budget = "/api/v1/insights/budgets/USD/dining";
    for amount in [json!(0), json!(1.5), json!(-1)] {
        holder
            .put(budget, json!({ "amount": amount }))
            .await
            .must_be_problem(400, "invalid_body");
    }
}
