//! The table of endpoints.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::insight::{budget, category};
use crate::{
    alert, analyst, case, decision, erasure, fact, insight, label, list, monitoring, registered_model, risk,
    rule, rule_proposal, score, training_payment,
};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(rule::handlers::list_rules)
        .service(rule::handlers::list_rule_versions)
        .service(rule::handlers::retire_rule)
        .service(rule_proposal::handlers::propose_rule)
        .service(rule_proposal::handlers::list_rule_proposals)
        .service(rule_proposal::handlers::get_rule_proposal)
        .service(rule_proposal::handlers::test_rule)
        .service(rule_proposal::handlers::shadow_rule)
        .service(rule_proposal::handlers::activate_rule)
        .service(rule_proposal::handlers::withdraw_rule)
        .service(list::handlers::list_list_entries)
        .service(list::handlers::add_list_entry)
        .service(list::handlers::remove_list_entry)
        .service(alert::handlers::list_alerts)
        .service(alert::handlers::get_alert)
        .service(alert::handlers::claim_alert)
        .service(alert::handlers::release_alert)
        .service(alert::handlers::escalate_alert)
        .service(alert::handlers::add_alert_note)
        .service(alert::handlers::add_alert_evidence)
        .service(alert::decisions::decide_alert)
        .service(case::list_cases)
        .service(case::get_case)
        .service(case::add_case_note)
        .service(analyst::list_fraud_audit_log)
        .service(decision::handlers::get_fraud_decision)
        .service(label::handlers::label_transfers)
        .service(insight::handlers::list_insights)
        .service(insight::handlers::list_anomalies)
        .service(insight::handlers::list_recurring_payments)
        .service(insight::handlers::list_subscriptions)
        .service(insight::handlers::list_savings)
        .service(insight::handlers::get_cash_flow)
        .service(insight::handlers::rate_insight)
        .service(insight::handlers::dismiss_insight)
        .service(category::handlers::list_categories)
        .service(category::handlers::list_category_rules)
        .service(category::handlers::put_category_rule)
        .service(category::handlers::delete_category_rule)
        .service(budget::handlers::list_budgets)
        .service(budget::handlers::put_budget)
        .service(budget::handlers::delete_budget)
        .service(risk::handlers::assess_risk)
        .service(risk::handlers::get_risk_assessment)
        .service(risk::handlers::list_risk_assessments)
        .service(monitoring::handlers::get_fraud_monitoring)
        .service(training_payment::export_training_payments)
        .service(registered_model::handlers::list_fraud_models)
        .service(registered_model::handlers::register_fraud_model)
        .service(registered_model::handlers::shadow_fraud_model)
        .service(registered_model::handlers::retire_fraud_model)
        .service(registered_model::handlers::promote_fraud_model)
        .service(registered_model::handlers::roll_back_fraud_model)
        .map(internal);
}

/// For the other services only, and so not in the public document.
fn internal(config: &mut actix_web::web::ServiceConfig) -> &mut actix_web::web::ServiceConfig {
    config
        .service(score::handlers::score_transfers)
        .service(fact::handlers::get_fact_position)
        .service(fact::handlers::tell_facts)
        .service(erasure::erase_person)
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Flowlet ML",
        "Fraud: scores and what is learnt from them, rules, lists, alerts and cases.",
        configure,
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn openapi_json_is_what_the_handlers_say() {
        shared::openapi::check_golden(&super::document(), env!("CARGO_MANIFEST_DIR")).unwrap();
    }
}
