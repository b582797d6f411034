//! Risk assessments: who may make and read them, what must not count, and that they stay as they were made.

use platform::client::text_of;
use platform::{Customer, Platform, Service};
use serde_json::{Value, json};
use shared::Role;

fn asked(customer: &Customer, attributes: &Value) -> Value {
    json!({ "customer_id": customer.user_id, "purpose": "loan", "currency": "USD", "attributes": attributes })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assessment_has_reasons_and_nothing_that_must_not_count() {
    const PATH: &str = "/api/v1/risk/assessments";
    let platform = Platform::start().await;
    let customer = platform.register("customer").await;
    let officer = platform.register_with_role("officer", Role::Compliance).await;
    let support = platform.register_with_role("support", Role::Support).await;
    let partner = platform.register_with_role("partner", Role::Partner).await;
    customer.open_funded_account(50_000, "USD").await;

    let behind = json!({
        "monthly_income": 200_000, "monthly_debt_payments": 150_000, "requested_amount": 2_400_000, "term_months": 24,
        "delinquencies_24_months": 4, "credit_utilisation_basis_points": 9_800, "employment_months": 1,
    });
    let made = officer.post(PATH, asked(&customer, &behind)).await.must_be(201);
    assert!(
        ["high", "very_high"].contains(&made["band"].as_str().unwrap()),
        "{made}"
    );
    let reasons = made["reasons"].as_array().unwrap();
    assert!((1..=4).contains(&reasons.len()), "{made}");
    assert!(
        reasons.iter().any(|reason| reason["code"] == "delinquencies"),
        "{made}"
    );
    assert_eq!(made["features"]["debt_share"], 7_500);
    assert_eq!(
        made["features"]["income_months"],
        Value::Null,
        "nothing is made up"
    );
    let steady = json!({
        "monthly_income": 400_000, "monthly_debt_payments": 0, "requested_amount": 100_000, "delinquencies_24_months": 0,
        "credit_utilisation_basis_points": 500, "employment_months": 120, "credit_inquiries_6_months": 0,
    });
    let better = officer.post(PATH, asked(&customer, &steady)).await.must_be(201);
    assert!(
        better["probability_ppm"].as_i64() < made["probability_ppm"].as_i64(),
        "{better}"
    );

    let path = format!("{PATH}/{}", text_of(&made, "id"));
    let read = officer.get(&path).await.must_be(200);
    assert_eq!(read["reasons"], made["reasons"]);
    let list = officer
        .get(&format!("{PATH}?customer_id={}&limit=1", customer.user_id))
        .await
        .must_be(200);
    assert_eq!(list["data"][0]["id"], better["id"]);
    let after = text_of(&list, "next_cursor");
    let list = officer
        .get(&format!("{PATH}?customer_id={}&after={after}", customer.user_id))
        .await
        .must_be(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(list["data"][0]["id"], made["id"]);

    for nobody in [&customer, &support, &partner] {
        nobody
            .post(PATH, asked(&officer, &json!({})))
            .await
            .must_be_problem(403, "role_required");
        nobody.get(&path).await.must_be_problem(403, "role_required");
        nobody.get(PATH).await.must_be_problem(403, "role_required");
    }
    officer
        .post(PATH, asked(&officer, &json!({})))
        .await
        .must_be_problem(403, "own_assessment");
    for (attributes, code) in [
        (json!({ "gender": 1 }), "protected_attribute"),
        (json!({ "date_of_birth": 19_800_101 }), "protected_attribute"),
        (json!({ "shoe_size": 44 }), "unknown_attribute"),
        (json!({ "monthly_income": 1e99 }), "invalid_attribute"),
        (json!({ "monthly_income": "NaN" }), "invalid_attribute"),
    ] {
        officer
            .post(PATH, asked(&customer, &attributes))
            .await
            .must_be_problem(400, code);
    }
    let url = platform
        .server
        .runtime_url(Service::Ml, &platform.database)
        .unwrap();
    let (runtime, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for statement in [
        "UPDATE ml.risk_assessments SET band = 'low'",
        "DELETE FROM ml.risk_assessments",
    ] {
        let error = runtime.batch_execute(statement).await.unwrap_err();
        assert_eq!(
            error.code().unwrap().code(),
            "42501",
            "the service itself cannot: {statement}"
        );
    }
    platform.stop().await.unwrap();
}
