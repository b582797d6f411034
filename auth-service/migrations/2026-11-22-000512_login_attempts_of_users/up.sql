COMMENT ON TABLE login_attempts IS 'Attempts since the last success, per user by whatever name, or per name that nobody has. Counted before the password is looked at, removed by success.';
