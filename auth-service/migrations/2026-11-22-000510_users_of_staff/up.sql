CREATE INDEX CONCURRENTLY users_of_staff ON users (id) WHERE roles <> '{customer}';
