DROP TRIGGER champions_are_promoted ON models;
DROP FUNCTION check_champion;
GRANT UPDATE ON models, model_promotions TO ml_runtime;
