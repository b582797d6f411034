ALTER TABLE sessions ADD COLUMN authenticated_at timestamptz;
COMMENT ON COLUMN sessions.authenticated_at IS 'When the user last proved who they are by the methods in amr; null where that was when the session began.';
