CREATE INDEX CONCURRENTLY scores_in_review ON scores (created_at) WHERE decision = 'review';
