DROP TABLE insight_feedback, budgets, category_rules;
