//! The invariants of the books, checked over all of them in one snapshot.
//!
//! A check is one SQL query that returns what violates it, so none is the proof. Another reading of the same facts than the
//! code that wrote them: nothing of the lane is reused here. Each run is remembered, so that every replica tells the same
//! of the last one, also after a restart.

pub mod handlers;
pub mod queries;
mod samples;
pub mod schedule;

use serde::Serialize;
use utoipa::ToSchema;

/// A check and the query for its violations, which returns one line of text each.
pub struct Check {
    pub code: &'static str,
    pub title: &'static str,
    pub violations: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CheckResult {
    #[schema(example = "I1")]
    pub code: &'static str,
    pub title: &'static str,
    pub ok: bool,
    /// The first ten, each naming the record.
    pub violations: Vec<String>,
}

/// The check that also takes samples (`samples`).
pub const PROOFS: &str = "I10";

pub const CHECKS: [Check; 12] = [
    Check {
        code: "I1",
        title: "All postings of a currency sum to zero",
        violations: "SELECT format('%s: %s', currency, sum(signed)) FROM (
                SELECT currency, CASE direction WHEN 'credit' THEN amount ELSE -amount END AS signed FROM postings
            ) AS legs GROUP BY currency HAVING sum(signed) <> 0",
    },
    Check {
        code: "I2",
        title: "The postings of each transfer sum to zero, and posted transfers have them",
        violations: "SELECT format('transfer %s: %s postings, out of balance in %s currencies', coalesce(id, transfer_id), written, unbalanced)
            FROM transfers FULL JOIN (
                SELECT transfer_id, sum(postings) AS written, count(*) FILTER (WHERE total <> 0) AS unbalanced FROM (
                    SELECT transfer_id, count(*) AS postings, sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) AS total
                    FROM postings GROUP BY transfer_id, currency
                ) AS by_currency GROUP BY transfer_id
            ) AS legs_of ON transfer_id = id
            WHERE unbalanced > 0 OR coalesce(written, 0) <>
                CASE WHEN status = 'posted' THEN coalesce(jsonb_array_length(several_legs), 2) ELSE 0 END",
    },
    Check {
        code: "I3",
        title: "Each balance is its last posting's balance and the sum of its postings",
        violations: "SELECT format('account %s: balance %s, last posting %s, sum %s', id, posted, last, total)
            FROM ledger_accounts LEFT JOIN LATERAL (
                SELECT coalesce(sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END), 0) AS total,
                    coalesce((array_agg(balance_after ORDER BY sequence DESC))[1], 0) AS last
                FROM postings WHERE account_id = id
            ) AS history ON true
            WHERE posted <> total OR posted <> last",
    },
    Check {
        code: "I4",
        title: "Postings of each account are numbered 1 to n without a gap, and n is its version",
        violations: "SELECT format('account %s: version %s, %s postings, highest %s', id, version, numbered, highest)
            FROM ledger_accounts LEFT JOIN LATERAL (
                SELECT count(DISTINCT sequence) AS numbered, count(*) AS all_of_them, coalesce(max(sequence), 0) AS highest
                FROM postings WHERE account_id = id
            ) AS history ON true
            WHERE version <> numbered OR numbered <> all_of_them OR numbered <> highest",
    },
    Check {
        code: "I5",
        title: "No account was below its floor after any posting",
        violations: "SELECT format('account %s: %s at posting %s', account_id, balance_after, sequence)
            FROM postings JOIN ledger_accounts ON id = account_id WHERE balance_after < floor",
    },
    Check {
        code: "I6",
        title: "Holds are taken at most once, and what is open of them is what accounts hold",
        violations: "SELECT format('account %s: holds %s, open holds %s', ledger_accounts.id, held, open)
            FROM ledger_accounts LEFT JOIN LATERAL (
                SELECT coalesce(sum(amount - captured - released), 0) AS open FROM holds WHERE account_id = ledger_accounts.id
            ) AS of_account ON true
            WHERE held <> open
            UNION ALL
            SELECT format('hold %s: %s captured, %s released of %s', id, captured, released, amount)
            FROM holds WHERE captured < 0 OR released < 0 OR captured + released > amount",
    },
    Check {
        code: "I6b",
        title: "What was refunded of a transfer is the sum of its refunds, and it was reversed at most once",
        violations: "SELECT format('transfer %s: refunded %s, refunds %s, reversals %s', original.id, original.refunded, refunds, reversals)
            FROM transfers AS original LEFT JOIN LATERAL (
                SELECT coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunds,
                    count(*) FILTER (WHERE kind = 'reversal') AS reversals
                FROM transfers AS back WHERE back.original_transfer_id = original.id AND status <> 'rejected'
            ) AS given_back ON true
            WHERE refunded <> refunds OR refunded > amount OR reversals > 1 OR (reversals = 1) <> (reversal_id IS NOT NULL)",
    },
    // A decision about an older transfer is named for it, and may be refused.
    Check {
        code: "I7",
        title: "Each stored answer that moved money has its transfer, and no refusal has one that posted",
        violations: "SELECT format('key %s of %s: status %s, transfer %s', key, owner_id, keys.status, transfers.status)
            FROM idempotency_keys AS keys LEFT JOIN transfers ON id = transfer_id
            WHERE subject = 'transfer' AND ((keys.status = 201 AND id IS NULL)
               OR (keys.status = 422 AND transfers.status = 'posted' AND transfers.created_at >= keys.created_at))",
    },
    Check {
        code: "I9",
        title: "Each posted transfer has exactly one event that says so",
        violations: "SELECT format('transfer %s: %s events', transfers.id, count(outbox.id))
            FROM transfers LEFT JOIN outbox ON transfer_id = transfers.id AND outbox.kind = 'transfer.posted'
            WHERE status = 'posted' GROUP BY transfers.id HAVING count(outbox.id) <> 1",
    },
    Check {
        code: PROOFS,
        title: "Each transfer is in its blocks, checkpoints are a chain, and of both what was sampled is as it was committed",
        violations: "SELECT format('transfer %s: block %s does not tell of it', id, named.block)
            FROM transfers CROSS JOIN LATERAL unnest(block_ids) AS named (block)
            WHERE NOT EXISTS (SELECT FROM (SELECT id AS block, unnest(transfer_ids) AS transfer FROM blocks) AS told
                WHERE told.block = named.block AND told.transfer = transfers.id)
            UNION ALL
            SELECT format('transfer %s: no block tells of it', id)
            FROM transfers WHERE block_ids = '{}' AND created_at > (SELECT min(created_at) + interval '1 day' FROM blocks)
            UNION ALL
            SELECT format('checkpoint %s: does not follow checkpoint %s, or was altered', number, number - 1)
            FROM (
                SELECT number, row_number() OVER up AS place, substring(note FROM E'\\nprevious ([0-9a-f]{64})\\n') AS previous,
                    lag(encode(sha256(convert_to(split_part(note, E'\\n\\n', 1) || E'\\n', 'UTF8')), 'hex')) OVER up AS hash
                FROM checkpoints WINDOW up AS (ORDER BY number)
            ) AS chained
            WHERE number <> place OR previous IS DISTINCT FROM coalesce(hash, repeat('0', 64))",
    },
    Check {
        code: "I10b",
        title: "The audit log is numbered without a gap, and each entry has its own hash and that of the one before",
        violations: "SELECT format('audit entry %s: does not follow entry %s, or was altered', number, number - 1)
            FROM (
                SELECT entry.number, hash = hash_of_audit_entry(entry.*) AS own, row_number() OVER up AS place,
                    previous_hash = coalesce(lag(hash) OVER up, decode(repeat('00', 32), 'hex')) AS follows
                FROM audit_log AS entry WINDOW up AS (ORDER BY number)
            ) AS chained
            WHERE NOT (own AND follows AND number = place) ORDER BY number",
    },
    Check {
        code: "I9b",
        title: "Each posting of a customer that was told is one event of its account, and events are numbered without a gap",
        violations: "SELECT format('transfer %s, account %s: %s events', legs.transfer_id, legs.account_id, count(events.id))
            FROM outbox AS fact
            JOIN postings AS legs ON legs.transfer_id = fact.transfer_id
            JOIN ledger_accounts ON ledger_accounts.id = legs.account_id AND ledger_accounts.kind = 'customer'
            LEFT JOIN events ON events.fact = fact.sequence AND events.account_id = legs.account_id
            WHERE fact.kind = 'transfer.posted' AND fact.sequence <= (SELECT event_feed.fact FROM event_feed)
            GROUP BY legs.transfer_id, legs.account_id HAVING count(events.id) <> 1
            UNION ALL
            SELECT format('account %s: %s events, numbered to %s', account_id, count(*), max(account_sequence))
            FROM events GROUP BY account_id HAVING count(DISTINCT account_sequence) <> count(*) OR max(account_sequence) <> count(*)
            UNION ALL
            SELECT format('holder %s: %s events, numbered to %s', holder_id, count(*), max(position))
            FROM events GROUP BY holder_id HAVING max(position) <> count(*)",
    },
];
