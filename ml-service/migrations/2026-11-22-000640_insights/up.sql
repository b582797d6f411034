-- What holders say about their insights. The insights themselves are computed when they are asked for.
CREATE TABLE category_rules (
    id uuid PRIMARY KEY,
    holder_id uuid NOT NULL,
    transfer_id uuid,
    counterparty_account_id uuid,
    words text CHECK (char_length(words) BETWEEN 1 AND 400),
    category text NOT NULL CHECK (category ~ '^[a-z_]{1,32}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(transfer_id, counterparty_account_id, words) = 1)
);
COMMENT ON TABLE category_rules IS 'What a holder says that a payment is for: this transfer, those of a counterparty, or those with these words. It wins over the table of words.';
COMMENT ON COLUMN category_rules.words IS 'In lower case, letters and digits with one space between words.';
CREATE UNIQUE INDEX one_category_rule_per_subject ON category_rules
    (holder_id, coalesce(transfer_id::text, counterparty_account_id::text, words));

CREATE TABLE budgets (
    holder_id uuid NOT NULL,
    category text NOT NULL CHECK (category ~ '^[a-z_]{1,32}$'),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount bigint NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (holder_id, category, currency)
);
COMMENT ON TABLE budgets IS 'What a holder wants to spend on a category in a calendar month, in minor units.';

CREATE TABLE insight_feedback (
    holder_id uuid NOT NULL,
    insight_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind ~ '^[a-z_]{1,32}$'),
    rating text CHECK (rating IN ('useful', 'not_useful', 'wrong')),
    dismissed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (holder_id, insight_id),
    CHECK (rating IS NOT NULL OR dismissed_at IS NOT NULL)
);
COMMENT ON TABLE insight_feedback IS 'How a holder rated an insight, and whether it is to stay away. An insight has the same id whenever it is found.';
