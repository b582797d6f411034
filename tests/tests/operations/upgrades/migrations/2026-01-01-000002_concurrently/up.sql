CREATE INDEX CONCURRENTLY accounts_by_colour ON accounts (colour);
