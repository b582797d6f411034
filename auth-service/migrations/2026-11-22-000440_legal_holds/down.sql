DROP TRIGGER legal_hold ON users;
DROP FUNCTION refuse_erasure;
ALTER TABLE users DROP COLUMN legal_hold_at;
