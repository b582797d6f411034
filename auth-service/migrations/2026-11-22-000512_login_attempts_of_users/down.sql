COMMENT ON TABLE login_attempts IS 'Attempts since the last success, per e-mail, whether or not a user has it. Counted before the password is looked at, removed by success.';
