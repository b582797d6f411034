DROP INDEX CONCURRENTLY scores_in_review;
