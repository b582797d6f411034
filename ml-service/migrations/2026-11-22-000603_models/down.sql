ALTER TABLE scores
    DROP COLUMN model,
    DROP COLUMN probability;
DROP TABLE cost_policies, shadow_scores, model_promotions, models;
