DROP TRIGGER invalidate_user ON users;
DROP TRIGGER invalidate_deleted_session ON sessions;
DROP TRIGGER invalidate_session ON sessions;
DROP FUNCTION invalidate_caches(uuid);
DROP FUNCTION invalidate_user();
DROP FUNCTION invalidate_session();
DROP TABLE cache_invalidations;
