ALTER TABLE users DROP COLUMN has_password;
DROP TABLE throttles;
DROP TABLE one_time_tokens;
