-- Tamper evidence: what each transaction of the lane committed is a block, and blocks lead to signed checkpoints.

CREATE TABLE blocks (
    id uuid PRIMARY KEY,
    chain_id uuid NOT NULL,
    height bigint NOT NULL CHECK (height >= 0),
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    transfer_ids uuid[] NOT NULL CHECK (cardinality(transfer_ids) > 0),
    leaves bytea NOT NULL,
    created_at timestamptz NOT NULL,
    xid bigint NOT NULL UNIQUE DEFAULT pg_current_xact_id()::text::bigint,
    CONSTRAINT one_leaf_for_each_fact CHECK (octet_length(leaves) = 32 * cardinality(transfer_ids)),
    CONSTRAINT chains_do_not_fork UNIQUE (chain_id, height)
);
-- Hashes and random ids cannot be compressed, so it is not tried.
ALTER TABLE blocks ALTER COLUMN transfer_ids SET STORAGE EXTERNAL, ALTER COLUMN leaves SET STORAGE EXTERNAL;
COMMENT ON TABLE blocks IS 'The facts of one transaction of the lane: the hash of each, the root of the tree over them, and the block before it that the same connection wrote. Never changed and never deleted.';
COMMENT ON COLUMN blocks.transfer_ids IS 'Which transfer each leaf tells of.';
COMMENT ON COLUMN blocks.leaves IS 'SHA-256 of each fact, one after the other.';
COMMENT ON COLUMN blocks.created_at IS 'The time that its postings have, by which they are found.';
COMMENT ON COLUMN blocks.xid IS 'Checkpoints take blocks in this order, once every older transaction has ended.';
REVOKE UPDATE, DELETE ON blocks FROM transactions_runtime;
CREATE TRIGGER blocks_are_immutable BEFORE UPDATE OR DELETE ON blocks
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER blocks_are_kept BEFORE TRUNCATE ON blocks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

CREATE TABLE checkpoints (
    number bigint PRIMARY KEY CHECK (number > 0),
    note text NOT NULL,
    upto_xid bigint NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX checkpoints_by_xid ON checkpoints (upto_xid, number);
COMMENT ON TABLE checkpoints IS 'What was signed: each stands for all blocks since the one before it. Never changed and never deleted.';
COMMENT ON COLUMN checkpoints.upto_xid IS 'Blocks below this, and not below that of the checkpoint before, are in it.';
REVOKE UPDATE, DELETE ON checkpoints FROM transactions_runtime;
CREATE TRIGGER checkpoints_are_immutable BEFORE UPDATE OR DELETE ON checkpoints
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER checkpoints_are_kept BEFORE TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

CREATE TABLE checkpoint_keys (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{8}$'),
    verifier text NOT NULL,
    first_used_at timestamptz NOT NULL
);
COMMENT ON TABLE checkpoint_keys IS 'The public half of every key that ever signed a checkpoint, so that old checkpoints can be verified.';
REVOKE UPDATE, DELETE ON checkpoint_keys FROM transactions_runtime;

ALTER TABLE transfers ADD COLUMN block_ids uuid[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN transfers.block_ids IS 'The blocks that tell of it, oldest first: when it was made, and when it was decided. Empty if it is older than blocks are.';
GRANT UPDATE (block_ids) ON transfers TO transactions_runtime;

-- The postings of a block have its time, to the microsecond.
-- contract: an index of a partitioned table cannot be made concurrently; this one is small, which is one scan.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX postings_by_time ON postings USING brin (posted_at) WITH (pages_per_range = 32, autosummarize = on);
