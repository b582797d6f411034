-- Finding transfers by account, by reference and by metadata; and holds that are still open. Each list walks an index in
-- the order of the list, so a page costs the same however long the history is.

-- contract: an index of a partitioned table cannot be made concurrently; no release has had many transfers yet.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_by_debit_account ON transfers (debit_account_id, id);
-- contract: an index of a partitioned table cannot be made concurrently; no release has had many transfers yet.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_by_credit_account ON transfers (credit_account_id, id);
-- contract: an index of a partitioned table cannot be made concurrently; few transfers have several legs.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_by_payer_of_several ON transfers (debit_holder_id, id) WHERE several_legs IS NOT NULL;

CREATE TABLE transfer_labels (
    holder_id uuid NOT NULL,
    label text NOT NULL,
    transfer_id uuid NOT NULL,
    PRIMARY KEY (holder_id, label, transfer_id)
);
COMMENT ON TABLE transfer_labels IS 'What each side of a transfer can find it by: its reference and its metadata. Kept by triggers, like an index.';
REVOKE INSERT, UPDATE, DELETE ON transfer_labels FROM transactions_runtime;

CREATE FUNCTION labels_of(reference text, metadata jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT 'reference=' || reference WHERE reference IS NOT NULL
    UNION ALL
    SELECT 'metadata.' || key || '=' || value FROM jsonb_each_text(metadata) WHERE metadata IS NOT NULL;
END;

CREATE FUNCTION label_transfer() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO transfer_labels (holder_id, label, transfer_id)
    SELECT DISTINCT holder_id, label, NEW.id
    FROM unnest(ARRAY[NEW.initiated_by, NEW.debit_holder_id, NEW.credit_holder_id]) AS holder_id,
        labels_of(NEW.reference, NEW.metadata) AS label
    WHERE holder_id IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER transfers_are_labelled AFTER INSERT ON transfers FOR EACH ROW
    WHEN (NEW.reference IS NOT NULL OR NEW.metadata IS NOT NULL) EXECUTE FUNCTION label_transfer();

-- The payees of a transfer with several legs, who are written after it.
CREATE FUNCTION label_for_party() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO transfer_labels (holder_id, label, transfer_id)
    SELECT NEW.holder_id, label, NEW.transfer_id
    FROM transfers, labels_of(reference, metadata) AS label WHERE id = NEW.transfer_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER transfers_are_labelled AFTER INSERT ON transfer_parties FOR EACH ROW EXECUTE FUNCTION label_for_party();

-- What was there before.
INSERT INTO transfer_labels (holder_id, label, transfer_id)
SELECT DISTINCT holder_id, label, id
FROM transfers, unnest(ARRAY[initiated_by, debit_holder_id, credit_holder_id]) AS holder_id, labels_of(reference, metadata) AS label
WHERE (reference IS NOT NULL OR metadata IS NOT NULL) AND holder_id IS NOT NULL
UNION
SELECT holder_id, label, id
FROM transfer_parties JOIN transfers ON id = transfer_id, labels_of(reference, metadata) AS label;

-- contract: no version has looked for anything by it.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX transfers_by_reference;

-- contract: the lists of open holds walk these; they have only what is open.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX holds_open_by_debit_holder ON holds (debit_holder_id, id) WHERE kind = 'payment' AND captured + released < amount;
-- contract: the lists of open holds walk these; they have only what is open.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX holds_open_by_credit_holder ON holds (credit_holder_id, id) WHERE kind = 'payment' AND captured + released < amount;
