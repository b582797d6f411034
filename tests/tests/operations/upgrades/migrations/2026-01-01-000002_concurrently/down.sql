DROP INDEX CONCURRENTLY accounts_by_colour;
