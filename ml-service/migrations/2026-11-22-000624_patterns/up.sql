-- What counts as a pattern of money laundering. The highest version is in force; a change is a new row.
CREATE TABLE pattern_parameters (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parameters jsonb NOT NULL CHECK (jsonb_typeof(parameters) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pattern_parameters IS 'Versions of what src/pattern.rs looks for. The highest is in force; rows never change.';
COMMENT ON COLUMN pattern_parameters.parameters IS 'As Parameters in src/pattern.rs; amounts in whole major units.';
REVOKE INSERT, UPDATE, DELETE ON pattern_parameters FROM ml_runtime;

-- The thresholds are those from which cash has to be reported in the country of the currency, or near them.
INSERT INTO pattern_parameters (parameters) VALUES ('{
    "min_amount": 50,
    "structuring": {
        "thresholds": {"USD": 10000, "EUR": 10000, "GBP": 10000, "CHF": 15000, "CAD": 10000, "AUD": 10000, "JPY": 1000000},
        "min_percent": 50, "min_transfers": 3
    },
    "rapid_movement": {
        "window_hours": 24, "min_amount": 3000, "min_percent": 90, "max_percent": 110, "max_payers": 5
    },
    "fan_in": {
        "window_days": 7, "min_senders": 8, "min_transfers_a_day": 1, "min_amount": 3000, "min_percent_out": 70
    },
    "cycle": {
        "window_days": 30, "min_accounts": 3, "max_accounts": 6, "tolerance_percent": 10, "min_amount": 500,
        "in_order": true
    }
}');
