-- What people wrote about a person is also where it was copied to: in what the lists said of their payments and of payments to them,
-- and in the alerts and cases that came of a watch list, whoever's they are.
CREATE OR REPLACE FUNCTION erase_person(person uuid) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE scores SET reasons = (
            SELECT jsonb_agg(CASE WHEN reason ->> 'code' IN ('allow_list', 'block_list')
                THEN reason || '{"detail": "[erased]"}' ELSE reason END ORDER BY place)
            FROM jsonb_array_elements(reasons) WITH ORDINALITY AS each (reason, place))
        WHERE transfer_id IN (SELECT transfer_id FROM transfers WHERE debit_holder_id = person OR credit_holder_id = person)
            AND (reasons @> '[{"code": "allow_list"}]' OR reasons @> '[{"code": "block_list"}]');
    UPDATE case_history SET text = '[erased]'
        WHERE action = 'opened' AND alert_id IN (
            SELECT id FROM alerts WHERE kind = 'watch' AND transfer_id IN (
                SELECT transfer_id FROM transfers WHERE debit_holder_id = person OR credit_holder_id = person));
    UPDATE alerts SET sentence = '[erased]'
        WHERE kind = 'watch' AND transfer_id IN (
            SELECT transfer_id FROM transfers WHERE debit_holder_id = person OR credit_holder_id = person);
    DELETE FROM list_entries WHERE subject = person
        OR subject_kind IN ('account', 'counterparty') AND subject IN (
            SELECT debit_account_id FROM transfers WHERE debit_holder_id = person
            UNION SELECT credit_account_id FROM transfers WHERE credit_holder_id = person);
    UPDATE scores SET device = NULL, address = NULL
        WHERE transfer_id IN (SELECT transfer_id FROM transfers WHERE debit_holder_id = person);
    UPDATE transfers SET debit_holder_id = NULL, device = NULL, address = NULL, description = NULL
        WHERE debit_holder_id = person;
    UPDATE transfers SET credit_holder_id = NULL, description = NULL WHERE credit_holder_id = person;
    UPDATE case_history SET text = '[erased]', reference = NULL
        WHERE case_id IN (SELECT id FROM cases WHERE subject = person) AND action IN ('note', 'evidence', 'escalated', 'deciding');
    UPDATE alerts SET holder_id = NULL, reason = CASE WHEN reason IS NOT NULL THEN '[erased]' END WHERE holder_id = person;
    UPDATE cases SET subject = id, subject_kind = 'erased' WHERE subject = person;
$$;
