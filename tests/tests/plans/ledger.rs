//! A large ledger, written straight into the tables: one merchant with half of everything, and ten thousand others.

use chrono::{DateTime, TimeDelta, Utc};
use platform::database::Server;
use platform::postgres::Durability;
use shared::id::{AccountId, ScheduleId, TransferId, UserId, WebhookEndpointId};
use uuid::Uuid;

/// Over six months.
pub const TRANSFERS: i64 = 1_000_000;
const MILLISECONDS_BETWEEN: i64 = 15_552;
/// Of each other list that is long: the merchant's events, deliveries and schedules, the runs of a schedule, the audit log.
pub const LONG: i64 = 100_000;
/// Where among them the one is that differs from all others.
pub const RARE: i64 = 50_000;
pub const RUNS: i32 = 9_999;

pub struct Ledger {
    server: Server,
    database: String,
    begin: DateTime<Utc>,
    pub merchant: UserId,
    pub busy_account: AccountId,
    pub quiet_account: AccountId,
    /// One of many, with some hundred transfers.
    pub stranger: UserId,
    pub stranger_account: AccountId,
    pub endpoint: WebhookEndpointId,
    /// One that has run for long.
    pub schedule: ScheduleId,
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

impl Ledger {
    pub async fn load() -> Self {
        let server = Server::throwaway(Durability::Fast).await.unwrap();
        let database = server.create_from_template().await.unwrap();
        let sql = server.connect(&database).await.unwrap();
        let row = sql
            .query_one("SELECT date_trunc('day', now())", &[])
            .await
            .unwrap();
        let ledger = Self {
            server,
            database,
            begin: row.get(0),
            merchant: UserId::from_uuid(uuid(0x100_0000)),
            busy_account: AccountId::from_uuid(uuid(0x200_0000)),
            quiet_account: AccountId::from_uuid(uuid(0x200_0001)),
            stranger: UserId::from_uuid(uuid(7)),
            stranger_account: AccountId::from_uuid(uuid(7)),
            endpoint: WebhookEndpointId::from_uuid(uuid(1)),
            schedule: ScheduleId::from_uuid(uuid(1)),
        };
        let begin_ms = ledger.begin.timestamp_millis();
        let several = serde_json::json!([{ "account_id": ledger.busy_account }, { "account_id": ledger.stranger_account }]);
        let load = LOAD
            .replace("{transfers}", &TRANSFERS.to_string())
            .replace("{begin_ms}", &begin_ms.to_string())
            .replace("{between_ms}", &MILLISECONDS_BETWEEN.to_string())
            .replace("{several}", &several.to_string())
            .replace("{long}", &LONG.to_string())
            .replace("{rare}", &RARE.to_string())
            .replace("{runs}", &RUNS.to_string());
        for statement in load.split(";\n").filter(|it| !it.trim().is_empty()) {
            sql.batch_execute(statement).await.unwrap();
        }
        ledger
    }

    /// Of the superuser, who may load `auto_explain`.
    pub fn url(&self) -> String {
        self.server.cluster.superuser_url(&self.database)
    }

    pub async fn remove(self) {
        self.server.drop_database(&self.database).await.unwrap();
        self.server.cluster.stop().await.unwrap();
    }

    /// When the transfer with this number was made.
    pub fn created_at(&self, number: i64) -> DateTime<Utc> {
        self.begin + TimeDelta::milliseconds(number * MILLISECONDS_BETWEEN)
    }

    pub fn transfer_id(&self, number: i64) -> TransferId {
        let milliseconds = u128::try_from(self.created_at(number).timestamp_millis()).unwrap();
        TransferId::from_uuid(uuid(milliseconds << 80 | u128::try_from(number).unwrap()))
    }

    /// By adding up.
    pub async fn balance_of_busy_account_at(&self, moment: DateTime<Utc>) -> i64 {
        let sql = self.server.connect(&self.database).await.unwrap();
        let sum = "SELECT sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END)::bigint
            FROM transactions.postings WHERE account_id = $1 AND posted_at <= $2";
        let row = sql
            .query_one(sum, &[&self.busy_account.uuid(), &moment])
            .await
            .unwrap();
        row.get(0)
    }
}

/// As the superuser, without triggers. Accounts and their holders have the same number; a transfer's id is its moment and its
/// number, as `Ledger::transfer_id` has it. OFFSET 0 makes PostgreSQL compute each expression once.
const LOAD: &str = "
SET search_path = transactions;
SET session_replication_role = replica;
SET work_mem = '256MB';
SET synchronous_commit = off;

-- Indexes are made faster at once than row by row.
CREATE TEMP TABLE later AS SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'transactions' AND tablename IN ('transfers', 'holds') AND indexname NOT LIKE '%_pkey';
DO $$ DECLARE name text; BEGIN FOR name IN SELECT indexname FROM later LOOP EXECUTE format('DROP INDEX %I', name); END LOOP; END $$;

CREATE FUNCTION pg_temp.number(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN lpad(to_hex(number), 32, '0')::uuid;

INSERT INTO ledger_accounts (id, kind, holder_id, currency, floor)
SELECT pg_temp.number(number), 'customer', pg_temp.number(number), 'USD', 0 FROM generate_series(1::bigint, 10000) AS number
UNION ALL VALUES (pg_temp.number(x'2000000'::bigint), 'customer', pg_temp.number(x'1000000'::bigint), 'USD', 0),
    (pg_temp.number(x'2000001'::bigint), 'customer', pg_temp.number(x'1000000'::bigint), 'USD', 0);

INSERT INTO transfers (id, kind, status, debit_account_id, credit_account_id, debit_holder_id, credit_holder_id, amount, currency,
    several_legs, metadata, reference, initiated_by, rejection_code, hold_id, risk_decision, created_at, completed_at)
SELECT (lpad(to_hex(made_ms), 12, '0') || lpad(to_hex(number), 20, '0'))::uuid, 'transfer', status,
    CASE WHEN NOT several THEN debit_account END, CASE WHEN NOT several THEN credit_account END, debit_holder,
    CASE WHEN NOT several THEN credit_holder END,
    CASE WHEN NOT several THEN 1 + number % 1000 END, CASE WHEN NOT several THEN 'USD' END, CASE WHEN several THEN '{several}'::jsonb END,
    CASE WHEN number % 100 = 0 THEN jsonb_build_object('order', 'A-' || number, 'channel', CASE number % 200 WHEN 0 THEN 'web' ELSE 'shop' END) END,
    CASE WHEN number % 100 = 0 THEN 'R-' || number WHEN number % 100 = 5 THEN 'everywhere' END,
    debit_holder, CASE status WHEN 'rejected' THEN 'blocked_by_risk' END,
    CASE status WHEN 'in_review' THEN pg_temp.number(number) END, CASE WHEN number % 1000 <> 3 THEN 'allow' END,
    made_at, CASE WHEN status <> 'in_review' THEN made_at END
FROM generate_series(0::bigint, {transfers} - 1) AS number
CROSS JOIN LATERAL (SELECT {begin_ms} + number * {between_ms} AS made_ms, to_timestamp(0) + make_interval(secs => ({begin_ms} + number * {between_ms}) / 1000.0) AS made_at,
    number % 1000 = 11 AS several,
    CASE number % 1000 WHEN 501 THEN 'rejected' WHEN 502 THEN 'in_review' ELSE 'posted' END AS status,
    1 + number * 7919 % 10000 AS one, 1 + (number * 104729 + 5) % 10000 AS other OFFSET 0) AS made
CROSS JOIN LATERAL (SELECT
    CASE WHEN number % 10 = 1 THEN x'2000000'::bigint ELSE one END AS debit,
    CASE WHEN number % 100000 = 55 THEN x'2000001'::bigint WHEN number % 10 IN (0, 2, 4, 5, 6) THEN x'2000000'::bigint
        WHEN one = other THEN 1 + other % 10000 ELSE other END AS credit OFFSET 0) AS sides
CROSS JOIN LATERAL (SELECT pg_temp.number(debit) AS debit_account, pg_temp.number(credit) AS credit_account,
    pg_temp.number(least(debit, x'1000000'::bigint)) AS debit_holder, pg_temp.number(least(credit, x'1000000'::bigint)) AS credit_holder OFFSET 0) AS parties;

INSERT INTO transfer_parties (holder_id, transfer_id) SELECT pg_temp.number(7), id FROM transfers WHERE several_legs IS NOT NULL;
INSERT INTO transfer_labels (holder_id, label, transfer_id)
SELECT DISTINCT holder_id, label, id FROM transfers, unnest(ARRAY[debit_holder_id, credit_holder_id]) AS holder_id, labels_of(reference, metadata) AS label
WHERE (reference IS NOT NULL OR metadata IS NOT NULL) AND holder_id IS NOT NULL;

INSERT INTO postings (transfer_id, account_id, sequence, direction, amount, currency, balance_after, posted_at)
SELECT id, account_id, row_number() OVER of_account, direction, amount, 'USD',
    sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) OVER of_account, created_at
FROM (
    SELECT id, coalesce(debit_account_id, pg_temp.number(x'2000000'::bigint)) AS account_id, 'debit' AS direction, coalesce(amount, 1) AS amount, created_at FROM transfers
    UNION ALL
    SELECT id, coalesce(credit_account_id, pg_temp.number(7)), 'credit', coalesce(amount, 1), created_at FROM transfers
) AS legs
WINDOW of_account AS (PARTITION BY account_id ORDER BY id, direction ROWS UNBOUNDED PRECEDING);
ALTER TABLE ledger_accounts DROP CONSTRAINT available_above_floor;
UPDATE ledger_accounts SET version = counted.version, posted = counted.posted
FROM (SELECT account_id, count(*) AS version, sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) AS posted FROM postings GROUP BY account_id) AS counted
WHERE counted.account_id = id;

INSERT INTO holds (id, account_id, amount, captured, kind, credit_account_id, debit_holder_id, credit_holder_id, currency, created_at, expires_at)
SELECT pg_temp.number(number), debit, 100, CASE WHEN number % 1000 = 0 THEN 0 ELSE 100 END, 'payment', credit,
    least(debit, pg_temp.number(x'1000000'::bigint)), least(credit, pg_temp.number(x'1000000'::bigint)), 'USD', now(), now() + interval '7 days'
FROM generate_series(1::bigint, 100000) AS number CROSS JOIN LATERAL (SELECT
    CASE number % 2 WHEN 0 THEN pg_temp.number(x'2000000'::bigint) ELSE pg_temp.number(1 + number % 10000) END AS debit,
    CASE number % 2 WHEN 1 THEN pg_temp.number(x'2000000'::bigint) ELSE pg_temp.number(1 + number % 10000) END AS credit) AS sides;

INSERT INTO outbox (xid, sequence, id, kind, transfer_id, payload, created_at) OVERRIDING SYSTEM VALUE
SELECT 1, number, pg_temp.number(number), 'transfer.posted', pg_temp.number(number), '{}', now() FROM generate_series(0::bigint, {long}) AS number;

INSERT INTO events (holder_id, position, id, kind, account_id, account_sequence, fact)
SELECT pg_temp.number(x'1000000'::bigint), number, pg_temp.number(number), CASE number WHEN {rare} THEN 'hold.expired' ELSE 'transfer.posted' END,
    pg_temp.number(CASE number % 10000 WHEN 0 THEN x'2000001'::bigint ELSE x'2000000'::bigint END), number, number
FROM generate_series(1::bigint, {long}) AS number
UNION ALL VALUES (pg_temp.number(7), {long}, pg_temp.number({long} + 1), 'transfer.posted', pg_temp.number(7), 1, 1);

INSERT INTO webhook_deliveries (id, endpoint_id, event_id, kind, status, next_attempt_at)
SELECT pg_temp.number(number), pg_temp.number(1 + number % 2), pg_temp.number(number), 'transfer.posted', status,
    CASE status WHEN 'pending' THEN now() END
FROM generate_series(1::bigint, 2 * {long}) AS number CROSS JOIN LATERAL (SELECT
    CASE number WHEN {rare} THEN 'failed' WHEN {rare} + 2 THEN 'pending' ELSE 'delivered' END AS status) AS became;

INSERT INTO audit_log (number, at, actor, roles, action, subject, previous_hash, hash)
SELECT number, now(), 'accounts-service', '', 'account.frozen', CASE number WHEN {rare} THEN 'acct_rare' ELSE 'acct_' || number % 100 END,
    sha256(number::text::bytea), sha256((number + 1)::text::bytea)
FROM generate_series(1::bigint, {long}) AS number;

INSERT INTO schedules (id, owner_id, key, fingerprint, transfer, time_zone, first_on, at_time, status, next_run_at)
SELECT pg_temp.number(number), pg_temp.number(CASE WHEN number % 2 = 0 THEN x'1000000'::bigint ELSE number % 10000 END), number::text,
    sha256(number::text::bytea), '{}', 'UTC', '2030-01-01', '09:00', status, CASE status WHEN 'active' THEN now() + make_interval(hours => (number / 100)::integer - 10) END
FROM generate_series(1::bigint, 2 * {long}) AS number CROSS JOIN LATERAL (SELECT
    CASE WHEN number = {rare} THEN 'paused' WHEN number % 2 = 0 THEN 'completed' ELSE 'active' END AS status) AS stands;
INSERT INTO schedule_runs (schedule_id, occurrence, due_at, outcome, transfer_id)
SELECT pg_temp.number(schedule), occurrence, now(), 'posted', pg_temp.number(occurrence)
FROM generate_series(0, {runs} - 1) AS occurrence, generate_series(1::bigint, 10) AS schedule;

-- VACUUM takes no row for seen by everybody whose commit is not on disk.
SET synchronous_commit = on;
DO $$ DECLARE definition text; BEGIN FOR definition IN SELECT replace(indexdef, ' ON ONLY ', ' ON ') FROM later LOOP EXECUTE definition; END LOOP; END $$;
SET session_replication_role = origin;
-- For what an index alone can answer, PostgreSQL must know which pages everybody sees.
VACUUM ANALYZE transfers, transfer_labels, transfer_parties, holds, webhook_deliveries, schedules;
ANALYZE ledger_accounts, postings, outbox, events, audit_log, schedule_runs;
";
