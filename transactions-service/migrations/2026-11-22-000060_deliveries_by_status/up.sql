-- What is filtered by status can be rare among all that was sent to an endpoint.
CREATE INDEX CONCURRENTLY webhook_deliveries_by_status ON webhook_deliveries (endpoint_id, status, id);
